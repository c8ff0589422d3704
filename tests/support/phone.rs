//! A telephone of RTP alone: speaks coded words to a leg and keeps what it hears; a seeded relay lies on its way.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mgw::telephony::codec::Codec;
use mgw::telephony::g722;
use mgw::telephony::rtp::{Packet, Stream};

/// What the network between phone and shim does to packets of the phone; decided by the seed alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Network {
    pub loss: f64,
    /// Ten packets in a row, 200 ms, are lost every so many packets; 0: never.
    pub burst_every: u64,
    pub duplicates: f64,
    /// Share of packets that come 50 ms later than they would.
    pub late: f64,
    /// Random delay up to so much.
    pub jitter: Duration,
    pub seed: u64,
}

/// A small generator with a seed (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A bound phone that has not been told where to send.
pub struct Idle {
    socket: UdpSocket,
}

/// What was heard at one sample rate.
#[derive(Default)]
struct Ear {
    rate: u32,
    samples: Vec<i16>,
    last: Option<(u16, u32)>,
    /// Steps of sequence or timestamp that were not those of an even stream.
    uneven: usize,
    markers: usize,
    payload_types: Vec<u8>,
    g722: g722::Decoder,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    said: AtomicBool,
    sent: AtomicU64,
    /// Numbers of the packets that the network lost.
    lost: Mutex<Vec<u64>>,
    heard: Mutex<Ear>,
}

/// A phone on a call.
pub struct Phone {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What a phone heard.
pub struct Heard {
    pub samples: Vec<i16>,
    pub rate: u32,
    pub uneven: usize,
    pub markers: usize,
    pub payload_types: Vec<u8>,
}

impl Idle {
    pub fn new() -> Idle {
        Idle { socket: UdpSocket::bind("127.0.0.1:0").expect("port") }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("address")
    }

    /// The same socket once more, for whoever forges this phone's address.
    pub fn clone_socket(&self) -> UdpSocket {
        self.socket.try_clone().expect("socket")
    }

    /// Speaks `voice` (at the codec's rate), then silence, and listens.
    pub fn call(self, leg: SocketAddr, codec: Codec, voice: Vec<i16>, network: Network) -> Phone {
        self.socket.connect(leg).expect("connect");
        let shared = Arc::new(Shared::default());
        let listen = {
            let (socket, shared) = (self.socket.try_clone().expect("socket"), shared.clone());
            socket.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
            std::thread::spawn(move || {
                let mut buf = [0; 2048];
                while !shared.stop.load(Ordering::Relaxed) {
                    if let Ok(n) = socket.recv(&mut buf)
                        && let Ok(packet) = Packet::parse(&buf[..n])
                    {
                        shared.heard.lock().expect("ear").take(&packet);
                    }
                }
            })
        };
        let speak = {
            let shared = shared.clone();
            std::thread::spawn(move || speak(&self.socket, codec, &voice, network, &shared))
        };
        Phone { shared, threads: vec![listen, speak] }
    }
}

fn speak(socket: &UdpSocket, codec: Codec, voice: &[i16], network: Network, shared: &Shared) {
    let mut dice = Dice(network.seed);
    let step = codec.hz() as usize / 50;
    let silence = vec![0; step];
    let mut stream = Stream::new(dice.0 as u32 ^ 0x5555, 65_500, 0xFFFF_0000);
    let mut frames = voice.chunks(step);
    let mut packet = Vec::new();
    // Packets on their way, by when they arrive.
    let mut way: BTreeMap<(Duration, u64), Vec<u8>> = BTreeMap::new();
    let begin = Instant::now();
    for n in 0u64.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let now = Duration::from_millis(20) * n as u32;
        let frame = frames.next();
        shared.said.store(frame.is_none(), Ordering::Relaxed);
        let frame = frame.filter(|f| f.len() == step).unwrap_or(&silence);
        stream.write(&mut packet, codec.payload_type(), n == 0, step as u32, |out| codec.encode(frame, out));
        let in_burst = network.burst_every > 0 && n % network.burst_every >= network.burst_every.saturating_sub(10);
        if dice.roll() < network.loss || in_burst {
            shared.lost.lock().expect("lost").push(n);
        } else {
            let mut at = now + network.jitter.mul_f64(dice.roll());
            if dice.roll() < network.late {
                at += Duration::from_millis(50);
            }
            if dice.roll() < network.duplicates {
                way.insert((at + Duration::from_millis(7), n << 1 | 1), packet.clone());
            }
            way.insert((at, n << 1), packet.clone());
        }
        // Everything that arrives before the next frame is spoken, at its time.
        while let Some(entry) = way.first_entry()
            && entry.key().0 < now + Duration::from_millis(20)
        {
            let at = entry.key().0;
            sleep_until(begin + at);
            shared.sent.fetch_add(1, Ordering::Relaxed);
            // A leg that has ended refuses; that is what the test is about, or its assertions find out.
            let _ = socket.send(&entry.remove());
        }
        sleep_until(begin + now + Duration::from_millis(20));
    }
}

fn sleep_until(time: Instant) {
    let now = Instant::now();
    if time > now {
        std::thread::sleep(time - now);
    }
}

impl Ear {
    fn take(&mut self, packet: &Packet<'_>) {
        let (rate, clock_step) = match packet.payload_type {
            118 => (16_000, 320),
            9 => (16_000, 160),
            0 | 8 | 10 => (8000, 160),
            _ => (0, 0),
        };
        if !self.payload_types.contains(&packet.payload_type) {
            self.payload_types.push(packet.payload_type);
        }
        if rate == 0 {
            return;
        }
        self.rate = rate;
        self.markers += usize::from(packet.marker);
        if let Some((sequence, timestamp)) = self.last {
            let even =
                packet.sequence == sequence.wrapping_add(1) && packet.timestamp == timestamp.wrapping_add(clock_step);
            self.uneven += usize::from(!even);
        }
        self.last = Some((packet.sequence, packet.timestamp));
        match packet.payload_type {
            9 => self.g722.decode(packet.payload, &mut self.samples),
            0 => Codec::Pcmu.decode(packet.payload, &mut self.samples).expect("ulaw"),
            8 => Codec::Pcma.decode(packet.payload, &mut self.samples).expect("alaw"),
            _ => self.samples.extend(packet.payload.chunks_exact(2).map(|b| i16::from_be_bytes([b[0], b[1]]))),
        }
    }
}

impl Phone {
    /// Everything was spoken.
    pub fn has_said_all(&self) -> bool {
        self.shared.said.load(Ordering::Relaxed)
    }

    /// Numbers of the packets, 20 ms each from the first, that the network has lost so far.
    pub fn lost(&self) -> Vec<u64> {
        self.shared.lost.lock().expect("lost").clone()
    }

    /// Samples heard so far.
    pub fn heard_samples(&self) -> usize {
        self.shared.heard.lock().expect("ear").samples.len()
    }

    /// What was heard so far, and its rate.
    pub fn heard(&self) -> (Vec<i16>, u32) {
        let ear = self.shared.heard.lock().expect("ear");
        (ear.samples.clone(), ear.rate)
    }

    /// Hangs up.
    pub fn finish(mut self) -> Heard {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|t| t.join().expect("phone"));
        let mut ear = self.shared.heard.lock().expect("ear");
        Heard {
            samples: std::mem::take(&mut ear.samples),
            rate: ear.rate,
            uneven: ear.uneven,
            markers: ear.markers,
            payload_types: std::mem::take(&mut ear.payload_types),
        }
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|t| drop(t.join()));
    }
}
