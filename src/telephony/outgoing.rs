//! How what a leg hears is coded for its peer.

use super::codec::Codec;
use super::g722;

/// Payload type of G.722 (RFC 3551 section 6).
const G722: u8 = 9;

/// What is sent to the peer.
///
/// Asterisk takes only static payload types on an ExternalMedia leg and throws the others away without a word, its own
/// 118 (slin16) included. So a leg that receives slin16 is answered in G.722, the one static wide-band format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// As it would be received.
    Plain(Codec),
    /// G.722, 16 kHz in 64 kbit/s.
    G722,
}

impl Send {
    /// By Asterisk's name of the format.
    pub fn from_format(format: &str) -> Option<Send> {
        if format == "g722" { Some(Send::G722) } else { Codec::from_format(format).map(Send::Plain) }
    }

    /// Sample rate of what is coded.
    pub fn hz(self) -> u32 {
        match self {
            Send::Plain(codec) => codec.hz(),
            Send::G722 => 16_000,
        }
    }

    /// Asterisk's name of the format.
    pub fn name(self) -> &'static str {
        match self {
            Send::Plain(codec) => codec.format(),
            Send::G722 => "g722",
        }
    }

    /// What Asterisk understands from a leg of this format.
    pub fn answer_to(codec: Codec) -> Send {
        if codec == Codec::L16Wide { Send::G722 } else { Send::Plain(codec) }
    }
}

/// The encoder of one leg.
pub struct Outgoing {
    send: Send,
    g722: g722::Encoder,
}

impl Outgoing {
    /// At the beginning of a stream; it must last as long as that.
    pub fn new(send: Send) -> Outgoing {
        Outgoing { send, g722: g722::Encoder::new() }
    }

    /// The payload type to send.
    pub fn payload_type(&self) -> u8 {
        match self.send {
            Send::Plain(codec) => codec.payload_type(),
            Send::G722 => G722,
        }
    }

    /// Clock of the timestamps: 8000 for G.722 although it codes 16 kHz (RFC 3551 section 4.5.2).
    pub fn clock_hz(&self) -> u32 {
        match self.send {
            Send::Plain(codec) => codec.hz(),
            Send::G722 => 8000,
        }
    }

    /// Timestamp units of a frame of 20 ms.
    pub fn step(&self) -> u32 {
        self.clock_hz() / 50
    }

    /// Appends a frame's payload.
    pub fn encode(&mut self, frame: &[i16], out: &mut Vec<u8>) {
        match self.send {
            Send::Plain(codec) => codec.encode(frame, out),
            Send::G722 => self.g722.encode(frame, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asterisk_takes_is_sent() {
        for (format, name, payload_type, hz, clock_hz, step, bytes) in [
            ("slin16", "g722", 9, 16_000, 8000, 160, 160),
            ("slin", "slin", 10, 8000, 8000, 160, 320),
            ("ulaw", "ulaw", 0, 8000, 8000, 160, 160),
            ("alaw", "alaw", 8, 8000, 8000, 160, 160),
        ] {
            let send = Send::answer_to(Codec::from_format(format).expect("format"));
            let mut outgoing = Outgoing::new(send);
            assert_eq!((send.name(), send.hz()), (name, hz), "{format}");
            let form = (outgoing.payload_type(), outgoing.clock_hz(), outgoing.step());
            assert_eq!(form, (payload_type, clock_hz, step), "{format}");
            let mut payload = Vec::new();
            outgoing.encode(&vec![100; hz as usize / 50], &mut payload);
            assert_eq!(payload.len(), bytes, "{format}");
            assert_eq!(Send::from_format(name), Some(send));
        }
        assert_eq!(Send::from_format("slin16"), Some(Send::Plain(Codec::L16Wide)), "for peers that are no Asterisk");
        assert_eq!(Send::from_format("opus"), None);
    }
}
