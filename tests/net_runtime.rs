//! The network's runtime comes and goes with its users and leaves nothing behind. In a process of
//! its own, because it looks at the names of all threads.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use mgw::config::{Config, Language, SessionConfig};
use mgw::engine::{NetCommand, RoomId, SessionId};
use mgw::net::{CHANNEL_SIZE, Port, Runtime};

const PATIENCE: Duration = Duration::from_secs(20);

/// Names of this process's threads that belong to the network.
fn threads() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("/proc/self/task")
        .expect("the list of threads")
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| name.starts_with("mgw-net"))
        .collect();
    names.sort();
    names
}

fn config(server: &str) -> Arc<SessionConfig> {
    let mut config = Config::new();
    for (key, value) in [
        ("profile.t.language", "en"),
        ("deepgram.api_key", "k1"),
        ("deepl.api_key", "k2"),
        ("elevenlabs.api_key", "k3"),
        ("deepgram.base_url", server),
        ("deepl.base_url", server),
        ("elevenlabs.base_url", server),
    ] {
        config.set(key, value).expect(key);
    }
    Arc::new(config.session("t", &Config::new(), &|_| None).expect("settings"))
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: {:?}", threads());
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_left_after_shutdown() {
    // Accepts in the kernel and never answers: everything hangs in the middle of connecting.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let config = config(&format!("http://{}", listener.local_addr().expect("an address")));
    let spanish = Language::parse("es").expect("Spanish");
    for round in 0..3 {
        assert_eq!(threads(), Vec::<String>::new(), "round {round}");
        let runtime = Runtime::acquire(2).expect("a runtime");
        assert!(Arc::ptr_eq(&runtime, &Runtime::acquire(2).expect("the same runtime")));
        let (sender, receiver) = bounded(CHANNEL_SIZE);
        let mut port = Port::new(Arc::clone(&runtime), sender, None, Arc::default());
        for id in 0..20 {
            let session = SessionId(id);
            let (rate, room) = (16_000, RoomId(id / 2));
            port.apply(room, NetCommand::OpenStt { session, config: Arc::clone(&config), rate });
            port.apply(room, NetCommand::OpenTts { session, target: spanish, config: Arc::clone(&config), rate });
            port.apply(room, NetCommand::Audio { session, at: Duration::ZERO, samples: vec![0; 320] });
        }
        assert!(runtime.tasks() >= 40);
        wait("both workers run", || threads().len() >= 2);
        assert!(receiver.recv_timeout(PATIENCE).is_ok());
        // A room and a session end at once and alone.
        let before = runtime.tasks();
        port.close_room(RoomId(0));
        port.close_session(SessionId(2));
        wait("the room's tasks end", || runtime.tasks() <= before - 6);
        assert_eq!(port.sessions(), 17);
        match round {
            // Asked to end: everything is gone when the call returns.
            0 => {
                assert!(runtime.shutdown(PATIENCE));
                assert_eq!(runtime.tasks(), 0);
                // A command that comes late does no harm.
                port.apply(
                    RoomId(9),
                    NetCommand::OpenStt { session: SessionId(99), config: Arc::clone(&config), rate: 8000 },
                );
                assert!(!Arc::ptr_eq(&runtime, &Runtime::acquire(1).expect("another runtime")));
            }
            // The port goes first: its tasks end with it.
            1 => {
                drop(port);
                wait("the port's tasks end", || runtime.tasks() == 0);
                drop(runtime);
            }
            // Nobody says goodbye.
            _ => {
                drop(runtime);
                drop(port);
            }
        }
        assert_eq!(threads(), Vec::<String>::new(), "round {round}");
    }
}
