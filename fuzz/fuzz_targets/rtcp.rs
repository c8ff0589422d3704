//! RTCP compounds through the parser and one leg's session.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mgw_fuzz::packets;
use mgw_fuzz::telephony::rtcp::{Compound, Ntp, Packet, Session, descriptions};
use mgw_fuzz::telephony::rtp::{self, Stream};
use mgw_fuzz::telephony::source::Source;

/// What the seeds report about.
const OWN_SSRC: u32 = 5;

fuzz_target!(|input: &[u8]| {
    if let Ok(compound) = Compound::parse(input) {
        for packet in compound.packets() {
            let _ = (packet.blocks().count(), packet.leaving().count());
            if let Packet::Description(chunks) = packet {
                let _ = descriptions(chunks).count();
            }
        }
    }
    let mut session = Session::new("fuzz@mgw");
    let mut source = Source::new();
    let mut stream = Stream::new(OWN_SSRC, 0, 0);
    let mut out = Vec::new();
    for (now, bytes) in packets(input) {
        let ntp = Ntp::from_unix(Duration::from_secs(1_800_000_000) + now);
        match rtp::Packet::parse(bytes) {
            Ok(packet) => {
                source.check(&packet, now, 8000);
                stream.write(&mut out, 0, false, 160, |out| out.push(0));
            }
            Err(_) => {
                let _ = session.receive(bytes, &stream, &source, ntp, now);
            }
        }
        session.report(&mut out, &stream, &source, ntp, now);
        assert!(Compound::parse(&out).is_ok_and(|compound| compound.packets().count() == 2));
    }
    session.leave(&mut out, &stream, &source, Ntp(0), Duration::ZERO);
    assert!(Compound::parse(&out).is_ok_and(|compound| compound.packets().count() == 3));
});
