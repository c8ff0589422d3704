//! An Asterisk with app_mgw.so in it, and what tests ask of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::native::{library, package, succeed};
use crate::support::asterisk::measure::tone;
pub use crate::support::asterisk::phones::{RATE, words};
use crate::support::asterisk::root::USUAL;
use crate::support::asterisk::{Asterisk, LightPhone, Root, Setup};
use crate::support::leg::hear;
use crate::support::live::sentence;
use crate::support::{Cloud, temp_file, wait_for};

pub const S: Duration = Duration::from_secs(1);

/// How often rough handling is repeated.
pub fn rounds() -> usize {
    std::env::var("MGW_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

/// Where the headers of an Asterisk root can be included from: alone, because its C library's would clash with ours.
fn headers(root: &Path, folder: &Path) {
    let include = folder.join("include");
    std::fs::create_dir_all(&include).expect("folder");
    for name in ["asterisk", "asterisk.h"] {
        std::os::unix::fs::symlink(root.join("usr/include").join(name), include.join(name)).expect("link");
    }
}

/// A folder in which [`make`] builds the module against the headers of an Asterisk and the library of this build.
pub fn workshop(root: &Path) -> PathBuf {
    let folder = temp_file("module").parent().expect("folder").to_owned();
    for name in ["libmgw.so".to_owned(), format!("libmgw.so.{}", mgw::ffi::mgw_abi_version())] {
        std::os::unix::fs::symlink(library(), folder.join(name)).expect("link");
    }
    let pc = std::fs::read_to_string(package().join("mgw.pc.in")).expect("mgw.pc.in");
    let shown = folder.display().to_string();
    let include = package().join("include");
    let pc = pc.replace("@PREFIX@", &shown).replace("@LIBDIR@", &shown).replace("@VERSION@", "0");
    std::fs::write(folder.join("mgw.pc"), pc.replace("@INCLUDEDIR@", &include.display().to_string())).expect("mgw.pc");
    headers(root, &folder);
    folder
}

/// The module's own make in a [`workshop`], with more arguments; what it builds lies in `out`.
pub fn make(workshop: &Path, more: &[&str]) {
    let inside = |name: &str| workshop.join(name).display().to_string();
    succeed(
        Command::new("make")
            .arg("-C")
            .arg(package().join("asterisk-module"))
            .arg(format!("PKG_CONFIG_PATH={}", workshop.display()))
            .arg(format!("ASTERISK_INCLUDE={}", inside("include")))
            .arg(format!("OUT={}", inside("out")))
            .args(more),
    );
}

/// Builds the module as an operator does: `make -C asterisk-module` against headers and pkg-config.
pub fn build(root: &Path) -> PathBuf {
    let folder = workshop(root);
    make(&folder, &[]);
    folder.join("out")
}

/// The module for Asterisk 22, built once.
pub fn module() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&Root::of(USUAL).path))
}

/// mgw.conf that uses this cloud, with profiles 7777 (en) and 8888 (es); `general` and `more` are added.
pub fn conf(cloud: &Cloud, general: &str, more: &str) -> String {
    let http = format!("http://{}", cloud.address);
    format!(
        "[general]\nlog = info\nevents = all\ndeepgram.base_url = {http}\ndeepl.base_url = {http}\n\
         elevenlabs.base_url = {http}\ndeepgram.api_key = dg-test-key\ndeepl.api_key = dl-test-key\n\
         elevenlabs.api_key = el-test-key\n{general}\n[7777]\nlanguage = en\n[8888]\nlanguage = es\n{more}\n"
    )
}

/// The dialplan of the tests, in context `mgw`: rooms, and translated calls to the phones.
pub const DIALPLAN: &str = "\
exten => 7701,1,MediaGateway(7777)
 same => n,Goto(after,1)
exten => 8801,1,MediaGateway(8888)
 same => n,Goto(after,1)
exten => 7702,1,MediaGateway(7777,room-7,k(#))
 same => n,Goto(after,1)
exten => 8802,1,MediaGateway(8888,room-7,e)
 same => n,Goto(after,1)
exten => after,1,Set(GLOBAL(STATUS_${CALLERID(num)})=${MGW_STATUS}/${MGW_ROOM})
 same => n,Wait(600)
exten => _1XXX,1,Set(TRANSLATE(en,es)=on)
 same => n,Set(GLOBAL(STATUS)=${MGW_STATUS})
 same => n,Dial(PJSIP/1002)
exten => _40XX,1,Answer()
 same => n,Set(GLOBAL(P${EXTEN:2})=${CHANNEL})
 same => n,Wait(3600)
exten => _60XX,1,Answer()
 same => n,Set(TRANSLATE(es,en)=on)
 same => n,Set(GLOBAL(P${EXTEN:2})=${CHANNEL})
 same => n,Wait(3600)
exten => _41XX,1,Answer()
 same => n,Set(TRANSLATE(en,es)=on)
 same => n,Set(GLOBAL(STATUS)=${MGW_STATUS})
 same => n,Bridge(${P${EXTEN:2}})
exten => _42XX,1,Answer()
 same => n,Bridge(${P${EXTEN:2}})
exten => _43XX,1,Answer()
 same => n,ParkedCall(default,7${EXTEN:2})
exten => 4400,1,Answer()
 same => n,Set(TRANSLATE(en,es)=on)
 same => n,Queue(q)
exten => 4401,1,Wait(3)
 same => n,Answer()
 same => n,Bridge(${P01})
exten => 4500,1,Answer()
 same => n,Set(TRANSLATE(en,es)=on)
 same => n,ConfBridge(9)
exten => 4501,1,Answer()
 same => n,ConfBridge(9)
exten => 4600,1,Answer()
 same => n,Set(TRANSLATE(en,es)=on)
 same => n,MixMonitor(,r(${SPOOL}/read.sln16)t(${SPOOL}/write.sln16))
 same => n,Bridge(${P00})
exten => 4700,1,Answer()
 same => n,ChanSpy(${SPIED},q)
exten => 4701,1,Answer()
 same => n,ChanSpy(${SPIED},qw)
exten => _48XX,1,Answer()
 same => n,BridgeAdd(${P${EXTEN:2}})
exten => 4900,1,Answer()
 same => n,Dial(Local/4901@mgw,60)
exten => 4950,1,Answer()
 same => n,Set(TRANSLATE(en,es)=on)
 same => n,Dial(Local/4901@mgw,60)
exten => 4901,1,Progress()
 same => n,Playtones(1000/20000)
 same => n,Wait(60)
exten => 4960,1,Answer()
 same => n,Set(TRANSLATE(en,es)=on)
 same => n,Dial(Local/4961@mgw/n,60)
exten => 4961,1,Answer()
 same => n,MusicOnHold()
exten => 4980,1,Answer()
 same => n,Set(TRANSLATE(en,es)=on)
 same => n,Dial(Local/4981@mgw/n)
exten => 4981,1,Bridge(${P00})
 same => n,Bridge(${P01})
exten => 4970,1,Answer()
 same => n,Set(TRANSLATE(en,es)=on)
 same => n,Bridge(${P00},F(mgw^4971^1))
exten => 4971,1,Wait(2)
 same => n,Bridge(${P01})
exten => 4902,1,Answer()
 same => n,MixMonitor(,r(${SPOOL}/caller-said.sln16)t(${SPOOL}/caller-heard.sln16))
 same => n,Dial(Local/4903@mgw/n)
exten => 4903,1,Answer()
 same => n,Set(TRANSLATE(en,es)=on)
 same => n,Bridge(${P00})
";

/// Level of the music on hold, which is a tone of this frequency.
pub const MUSIC_HZ: f64 = 440.0;
const MUSIC_AMPLITUDE: f64 = 3000.0;

/// A gateway with the module.
pub fn gateway(cloud: &Cloud) -> Asterisk {
    gateway_with(&conf(cloud, "", ""), module())
}

pub fn gateway_with(conf: &str, modules: &Path) -> Asterisk {
    gateway_of(USUAL, conf, modules, &[], &[])
}

/// Of a version of Asterisk, run under a program that watches it, with further configuration files.
pub fn gateway_of(version: u8, conf: &str, modules: &Path, under: &[&str], more: &[(&str, &str)]) -> Asterisk {
    let folder = temp_file("music").parent().expect("folder").to_owned();
    let music = folder.join("music");
    std::fs::create_dir(&music).expect("folder");
    let tone: Vec<u8> = tone(MUSIC_HZ, MUSIC_AMPLITUDE, 10.0, RATE).iter().flat_map(|s| s.to_le_bytes()).collect();
    std::fs::write(music.join("tone.sln16"), tone).expect("music");
    let held = format!("[general]\n[default]\nmode = files\ndirectory = {}\n", music.display());
    let dialplan = DIALPLAN.replace("${SPOOL}", &folder.display().to_string());
    let mut files = vec![
        ("mgw.conf", conf),
        ("musiconhold.conf", &held),
        ("res_parking.conf", "[general]\n[default]\nparkext = 700\nparkpos = 701-720\ncontext = parked\n"),
        ("queues.conf", "[general]\n[q]\nstrategy = ringall\nmember => Local/4401@mgw/n\n"),
        ("confbridge.conf", "[general]\n[default_user]\ntype = user\nquiet = yes\n[default_bridge]\ntype = bridge\n"),
    ];
    files.extend(more);
    let setup = Setup { extensions: &dialplan, files: &files, version, modules: Some(modules), under };
    let gateway = Asterisk::gateway_of(&setup);
    gateway.action("Setvar", &[("Variable", "SPOOL"), ("Value", &folder.display().to_string())]);
    gateway
}

/// A recording of 4600 or 4902.
pub fn recorded(gateway: &Asterisk, name: &str) -> Vec<i16> {
    let bytes = std::fs::read(spool(gateway).join(name)).unwrap_or_default();
    bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
}

/// Where they record.
pub fn spool(gateway: &Asterisk) -> PathBuf {
    gateway.action("Getvar", &[("Variable", "SPOOL")]).remove("Value").expect("it was set").into()
}

/// Two light phones in a translated call: the caller (English) has the hook, the callee speaks Spanish.
pub fn pair(gateway: &Asterisk, number: usize) -> (LightPhone, LightPhone) {
    let b = waiting(gateway, number);
    let a = LightPhone::call(gateway, &format!("41{number:02}"), &[]);
    a.wait_up();
    (a, b)
}

/// A phone that waits to be talked to under a number.
pub fn waiting(gateway: &Asterisk, number: usize) -> LightPhone {
    waiting_by(gateway, number, || LightPhone::call(gateway, &format!("40{number:02}"), &[]))
}

/// The same by a call of one's own to extension 40 or 60 with the number behind it.
pub fn waiting_by(gateway: &Asterisk, number: usize, call: impl Fn() -> LightPhone) -> LightPhone {
    let before = partner(gateway, number);
    let b = call();
    b.wait_up();
    wait_for("the phone to wait", 30 * S, || partner(gateway, number) != before);
    b
}

/// The channel that waits, or has waited, under a number.
pub fn partner(gateway: &Asterisk, number: usize) -> Option<String> {
    gateway.action("Getvar", &[("Variable", &format!("P{number:02}"))]).remove("Value")
}

/// The channel that TRANSLATE is on for, where there is one.
pub fn hooked(gateway: &Asterisk) -> String {
    let text = gateway.rx("mgw show calls");
    let line = text.lines().nth(1).unwrap_or_else(|| panic!("no call: {text}"));
    line.split_whitespace().next().expect("a channel").to_owned()
}

/// Sets a variable or a function of a channel.
pub fn set(gateway: &Asterisk, channel: &str, name: &str, value: &str) {
    let reply = gateway.action("Setvar", &[("Channel", channel), ("Variable", name), ("Value", value)]);
    assert_eq!(reply["Response"], "Success", "{name}: {reply:?}");
}

/// What a phone hears from now on, for so long.
pub fn hears_for(phone: &LightPhone, time: Duration) -> Vec<i16> {
    let from = phone.heard().len();
    let count = (time.as_secs_f64() * f64::from(RATE)) as usize;
    wait_for("sound", 60 * S, || phone.heard_from(from).len() >= count);
    phone.heard_from(from)[..count].to_vec()
}

/// Says a sentence each way and checks that each hears the other's in the own language, word for word.
pub fn converse(a: &LightPhone, b: &LightPhone, first: u16) {
    let (from_a, from_b) = (a.heard().len(), b.heard().len());
    a.say(&talk("en", first, 1));
    b.say(&talk("es", first + 500, 1));
    wait_words("the callee's sentence", 5, || a.heard_from(from_a));
    wait_words("the caller's sentence", 5, || b.heard_from(from_b));
    // What comes twice would come now.
    std::thread::sleep(S);
    assert_eq!(words(&a.heard_from(from_a), "en"), (first + 500..first + 505).collect::<Vec<_>>());
    assert_eq!(words(&b.heard_from(from_b), "es"), (first..first + 5).collect::<Vec<_>>());
}

/// Sentences of five words, each followed by a pause, behind half a second of silence.
pub fn talk(language: &str, first: u16, sentences: u16) -> Vec<i16> {
    let mut all = vec![0; RATE as usize / 2];
    for n in 0..sentences {
        all.extend(sentence(language, first + 5 * n..first + 5 * n + 5, RATE, Duration::from_millis(900)));
    }
    all
}

/// Waits until an ear has heard so many words; tells what it has heard when they do not come.
pub fn wait_words(what: &str, count: usize, heard: impl Fn() -> Vec<i16>) {
    let begin = Instant::now();
    loop {
        let report = hear(&heard(), RATE);
        if report.words.len() >= count {
            return;
        }
        let (words, damaged) = (&report.words, report.damaged);
        assert!(begin.elapsed() < 40 * S, "{what}: {count} words wanted, heard {words:?} and {damaged} damaged");
        std::thread::sleep(S / 10);
    }
}

/// What is wrong with an ear that should have heard these words once, whole and in order.
pub fn fault(heard: &[i16], language: &str, numbers: std::ops::Range<u16>) -> Option<String> {
    let report = hear(heard, RATE);
    let right = report.damaged == 0 && report.words.iter().map(|(l, n)| (*l, *n)).eq(numbers.map(|n| (language, n)));
    (!right).then(|| format!("{language}: heard {:?}, {} damaged", report.words, report.damaged))
}

/// What one phone says reaches the others as it is. Asterisk's mixer leaves a frame out here and there on a busy machine.
pub fn original_passes(speaker: &LightPhone, ears: &[&LightPhone], language: &'static str, first: u16) {
    let mut numbers = first..first + 5;
    thrice(|| {
        let from: Vec<usize> = ears.iter().map(|ear| ear.heard().len()).collect();
        speaker.say(&talk(language, numbers.start, 1));
        speaker.wait_said_all();
        std::thread::sleep(S);
        let faults =
            ears.iter().zip(from).find_map(|(ear, from)| fault(&ear.heard_from(from), language, numbers.clone()));
        numbers = numbers.end..numbers.end + 5;
        faults
    });
}

/// Asterisk's own recorder, by which its phones and spies hear, drops sound where the machine gives it no time; so what
/// was heard by it may be imperfect twice, but not three times.
pub fn thrice(mut attempt: impl FnMut() -> Option<String>) {
    let faults: Vec<String> = (0..3).map_while(|_| attempt()).collect();
    assert!(faults.len() < 3, "{faults:#?}");
}

/// The states of calls with TRANSLATE, as the console shows them.
pub fn states(gateway: &Asterisk) -> Vec<String> {
    let text = gateway.rx("mgw show calls");
    let calls = text.lines().skip(1).filter(|line| !line.starts_with("CPU time"));
    calls.filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned).collect()
}

/// Waits until the only call with TRANSLATE has a state.
pub fn wait_state(gateway: &Asterisk, state: &str) {
    wait_for(&format!("a call that is {state}"), 30 * S, || states(gateway) == [state]);
}

/// Sessions that there are.
pub fn sessions(gateway: &Asterisk) -> usize {
    let text = gateway.rx("mgw show sessions");
    let last = text.lines().last().unwrap_or_default();
    last.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no count in {text:?}"))
}

/// How often the module is in use.
pub fn uses(gateway: &Asterisk) -> String {
    let text = gateway.rx("module show like app_mgw");
    let line = text.lines().find(|line| line.contains("app_mgw.so")).unwrap_or_else(|| panic!("no module: {text}"));
    // Its description has words, and what follows it is count, status, support level.
    line.split_whitespace().rev().nth(2).expect("columns").to_owned()
}

/// Waits until nothing is left of any call: no channel, bridge, session, hook or use of the module.
pub fn wait_empty(gateway: &Asterisk) {
    // A parking lot is a bridge that stays once somebody was there.
    let left = || gateway.leftovers().into_iter().filter(|l| !l.contains("holding_bridge")).count();
    wait_for("no channel and no bridge", 40 * S, || left() == 0);
    wait_for("no session", 40 * S, || sessions(gateway) == 0);
    wait_for("no hook", 10 * S, || states(gateway).is_empty());
    wait_for("no use of the module", 10 * S, || uses(gateway) == "0");
}
