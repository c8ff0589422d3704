//! Telephone-events: packets of an input, whose first four bytes are the timestamp, through a receiver.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mgw_fuzz::packets;
use mgw_fuzz::telephony::dtmf::{Receiver, event_of};

fuzz_target!(|input: &[u8]| {
    let mut receiver = Receiver::new(8000);
    let (mut digits, mut events, mut last) = (Vec::new(), 0, Duration::ZERO);
    for (now, bytes) in packets(input) {
        receiver.poll(now, |digit| digits.push(digit));
        if let Some((timestamp, payload)) = bytes.split_first_chunk() {
            receiver.receive(u32::from_be_bytes(*timestamp), payload, now, |digit| digits.push(digit));
            events += 1;
        }
        last = now;
    }
    receiver.poll(last + Duration::from_secs(1), |digit| digits.push(digit));
    receiver.poll(last + Duration::from_secs(2), |digit| panic!("{digit:?} out of nothing"));
    receiver.restart(|digit| panic!("{digit:?} after its end"));
    assert!(digits.len() as u64 + receiver.ignored() <= events, "one packet makes one digit at most");
    assert!(digits.iter().all(|digit| event_of(digit.digit).is_some()));
});
