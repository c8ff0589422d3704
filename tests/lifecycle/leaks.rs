//! What 200 sessions leave behind: nothing.

use std::process::{Command, Stdio};
use std::time::Duration;

use mgw::config::Config;
use mgw::engine::LeaveMode;
use mgw::media_port::{pull_frame, push_frame};
use mgw::{Status, session};

use crate::support::live::sentence;
use crate::support::{Cloud, descriptors, threads, wait_for};
use crate::{Host, LIMIT};

const ROOMS: usize = 100;
/// Set in the process that does the work.
const ALONE: &str = "MGW_TEST_ALONE";

/// Threads and descriptors belong to the whole process, so the work is done in one where no other test runs.
#[test]
fn two_hundred_sessions_leave_nothing_behind() {
    if std::env::var_os(ALONE).is_some() {
        return open_use_and_free();
    }
    let me = std::env::current_exe().expect("this program's path");
    let name = "leaks::two_hundred_sessions_leave_nothing_behind";
    let child = Command::new(me)
        .args([name, "--exact", "--nocapture", "--test-threads", "1"])
        .env(ALONE, "1")
        .stdin(Stdio::null())
        .output()
        .expect("a process of its own");
    let told = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && told.contains("1 passed"), "{told}");
}

fn open_use_and_free() {
    let cloud = Cloud::start("[stt]\nmax_streams = 400\n");
    // With the local cloud's features tokio has a pair of sockets for signals, made once for the process.
    drop(Host::new(&cloud.config(&[])));
    wait_for("the first threads to end", LIMIT, || threads().iter().all(|name| !name.starts_with("mgw-")));
    let (threads_before, descriptors_before) = (threads(), descriptors());
    // Twice: what a first gateway leaves for good would show in the second.
    for _ in 0..2 {
        use_sessions(&cloud);
        wait_for("the threads to end", LIMIT, || threads() == threads_before);
        wait_for("the descriptors to be closed", LIMIT, || descriptors() == descriptors_before);
    }
    let stats = cloud.stats();
    assert_eq!(stats["violations"], serde_json::json!([]), "{stats}");
    wait_for("the cloud to see its connections end", LIMIT, || {
        let stats = cloud.stats();
        stats["open"].as_object().is_some_and(|open| open.values().all(|n| n == 0))
    });
}

fn use_sessions(cloud: &Cloud) {
    let host = Host::new(&cloud.config(&[("events.capacity", "100000")]));
    let gateway = &host.gateway;
    let (tasks, threads_idle, descriptors_idle) = (gateway.net_tasks(), threads(), descriptors());
    let mut sessions = Vec::new();
    for room in 0..ROOMS {
        for profile in ["7777", "8888"] {
            let name = format!("room {room}");
            sessions.push(gateway.open_session(profile, &name, &Config::new()).expect("session"));
        }
    }
    // A word and a pause from everybody, at about the pace of a call.
    let voices = ["en", "es"].map(|language| sentence(language, [7], 16_000, Duration::from_secs(1)));
    for at in 0..voices[0].len() / 320 {
        for (i, session) in sessions.iter().enumerate() {
            let mut frame = [0; 320];
            frame.copy_from_slice(&voices[i % 2][at * 320..(at + 1) * 320]);
            assert_eq!(push_frame(*session, &frame), Status::Ok);
            let status = pull_frame(*session, &mut frame);
            assert!(matches!(status, Status::Ok | Status::Silence | Status::Original), "{status:?}");
        }
        std::thread::sleep(Duration::from_millis(15));
    }
    host.wait("anything recognised", |e| e["type"] == "transcript");
    // Reading certificates and the like is done by a few threads, which end when they are not needed.
    assert!(threads().len() <= threads_idle.len() + 8, "sessions have no threads of their own: {:?}", threads());
    assert!(gateway.net_tasks() > tasks && descriptors() > descriptors_idle, "sessions have connections");
    for (i, session) in sessions.iter().enumerate() {
        let mode = if i % 3 == 0 { LeaveMode::Drain } else { LeaveMode::Now };
        session::close(*session, mode).expect("close");
    }
    wait_for("all sessions to be closed", LIMIT, || host.count(|e| e["type"] == "closed") == 2 * ROOMS);
    wait_for("the network tasks to end", LIMIT, || gateway.net_tasks() == tasks);
    // Connections that are kept for the next call: a few for each host, not for each session.
    wait_for(&format!("all but 10 of {} descriptors to be closed", descriptors() - descriptors_idle), LIMIT, || {
        descriptors() <= descriptors_idle + 10
    });
    let metrics = gateway.metrics();
    for line in ["mgw_sessions 0", "mgw_rooms 0"] {
        assert!(metrics.lines().any(|l| l == line), "{line}:\n{metrics}");
    }
    gateway.shutdown(Duration::from_secs(30)).expect("nothing is left to wait for");
}
