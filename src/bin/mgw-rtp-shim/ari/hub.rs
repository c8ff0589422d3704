//! Who waits for what happens to which channel or bridge. Events are told by id; nothing here waits.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

use super::event::Cause;

/// Digits that nobody has fetched yet; a person does not press that many while a call is set up.
const DIGITS: usize = 32;
/// How often it is looked whether a caller can still be heard while Asterisk is out of reach.
const LOOK: Duration = Duration::from_secs(1);

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It left our application, hung up or sent elsewhere by others: it is not ours to hang up.
    Left,
    Destroyed(Cause),
    /// Another client has our application and what is in it.
    TakenOver,
}

/// How far a channel that we dial has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// What Asterisk last said, such as `RINGING`; empty at first.
    Dialling(String),
    /// It was answered and its sound runs.
    Running,
    /// Why it is no more.
    Ended(String),
}

#[derive(Default)]
pub struct Hub {
    inner: Mutex<Inner>,
    callers: watch::Sender<usize>,
    /// Set while Asterisk is out of reach for too long: callers from whom nothing came for that time are given up.
    give_up: watch::Sender<Option<Duration>>,
    sweep: Notify,
}

#[derive(Default)]
struct Inner {
    objects: HashMap<String, Object>,
    dials: HashMap<String, Dialled>,
    /// Callers who are to be hung up, but Asterisk could not be asked.
    doomed: HashSet<String>,
    next_turn: u64,
}

struct Object {
    role: Role,
    /// Tells this stay in our application from an earlier one under the same id.
    turn: u64,
    /// Whether it is known to exist in Asterisk; else it may be on its way there.
    made: bool,
    fate: watch::Sender<Fate>,
    digits: mpsc::Sender<char>,
    /// The id with which it came; the session has that name for good.
    first_id: String,
    /// Keys to be pressed towards its phone.
    presses: mpsc::Sender<char>,
    /// The bridge in which it has to be.
    inside: Option<String>,
}

struct Dialled {
    room: String,
    made: bool,
    progress: watch::Sender<Progress>,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A channel that came to us.
    Caller,
    /// One of our external media channels or bridges.
    Own,
}

#[derive(Clone, Debug)]
struct Fate {
    /// It changes when another channel takes a caller's place.
    id: String,
    /// It has entered our application.
    entered: bool,
    gone: Option<Gone>,
}

/// Waits for the fate of one channel or bridge; while it lives, the sweep leaves that alone.
pub struct Watch {
    hub: Arc<Hub>,
    turn: u64,
    fate: watch::Receiver<Fate>,
    digits: mpsc::Receiver<char>,
    presses: Option<mpsc::Receiver<char>>,
}

/// Tells a channel's present id.
pub struct Ids(watch::Receiver<Fate>);

impl Ids {
    pub fn now(&self) -> String {
        self.0.borrow().id.clone()
    }
}

/// Waits for a channel that we dial.
pub struct DialWatch {
    hub: Arc<Hub>,
    id: String,
    progress: watch::Receiver<Progress>,
}

/// What the sweep needs to know of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Everything that belongs to a running call, or to one that is being set up or taken down.
    pub ids: HashMap<String, Place>,
    /// Channels that we dial, taken or not.
    pub dials: HashSet<String>,
    /// Those of both that Asterisk is known to have, or to have had.
    pub made: HashSet<String>,
    pub doomed: HashSet<String>,
}

/// What the sweep needs to know of one thing of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Another one if it left and came back.
    pub turn: u64,
    /// The bridge in which it has to be.
    pub bridge: Option<String>,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is complete before the lock is given back.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes charge of a channel or bridge; `None` if somebody has. A caller who has left and come back (a redirect, a
    /// dialplan that goes round) is a new one, even while its former call is still being removed.
    pub fn watch(self: &Arc<Self>, id: &str, role: Role) -> Option<Watch> {
        let mut inner = self.lock();
        let back = |old: &Object| role == Role::Caller && old.fate.borrow().gone == Some(Gone::Left);
        if inner.objects.get(id).is_some_and(|old| !back(old)) {
            return None;
        }
        let turn = inner.next_turn;
        inner.next_turn += 1;
        let (fate, see) = watch::channel(Fate { id: id.to_owned(), entered: role == Role::Caller, gone: None });
        let (digits, hear) = mpsc::channel(DIGITS);
        let (presses, press) = mpsc::channel(DIGITS);
        let (made, first_id) = (role == Role::Caller, id.to_owned());
        inner.objects.insert(id.to_owned(), Object { role, turn, made, fate, digits, first_id, presses, inside: None });
        self.count(&inner);
        Some(Watch { hub: Arc::clone(self), turn, fate: see, digits: hear, presses: Some(press) })
    }

    fn count(&self, inner: &Inner) {
        self.callers.send_replace(inner.objects.values().filter(|o| o.role == Role::Caller).count());
    }

    /// Waits until no caller is here.
    pub async fn idle(&self) {
        let mut callers = self.callers.subscribe();
        if callers.wait_for(|n| *n == 0).await.is_err() {
            // The sender is in `self`.
            pending::<()>().await;
        }
    }

    /// It exists in Asterisk now.
    pub fn made(&self, id: &str) {
        let mut inner = self.lock();
        if let Some(object) = inner.objects.get_mut(id) {
            object.made = true;
        }
        if let Some(dialled) = inner.dials.get_mut(id) {
            dialled.made = true;
        }
    }

    /// These are in a bridge now, and have to stay there.
    pub fn inside(&self, bridge: &str, ids: &[&str]) {
        let mut inner = self.lock();
        for id in ids {
            if let Some(object) = inner.objects.get_mut(*id) {
                object.inside = Some(bridge.to_owned());
            }
        }
    }

    /// It has entered our application.
    pub fn entered(&self, id: &str) {
        if let Some(object) = self.lock().objects.get(id) {
            object.fate.send_modify(|fate| fate.entered = true);
        }
    }

    /// Something ended.
    pub fn gone(&self, id: &str, gone: &Gone) {
        let inner = self.lock();
        if let Some(object) = inner.objects.get(id) {
            end(object, gone);
        }
        if let Some(dialled) = inner.dials.get(id) {
            dialled.progress.send_if_modified(|progress| {
                let why = match (&*progress, gone) {
                    (Progress::Ended(_), _) => return false,
                    // A cause follows.
                    (_, Gone::Left) => return false,
                    (Progress::Dialling(status), Gone::Destroyed(cause)) => why_not(status, cause),
                    (Progress::Running, Gone::Destroyed(_)) => "hung up".into(),
                    (_, Gone::TakenOver) => "another client has taken the Stasis application over".into(),
                };
                *progress = Progress::Ended(why);
                true
            });
        }
    }

    /// What was told of it is dealt with.
    pub fn rearm(&self, id: &str) {
        if let Some(object) = self.lock().objects.get(id) {
            object.fate.send_modify(|fate| fate.gone = None);
        }
    }

    /// Another client has our application: every call is over.
    pub fn taken_over(&self) {
        let ids: Vec<String> = {
            let inner = self.lock();
            let callers = inner.objects.iter().filter(|(_, o)| o.role == Role::Caller).map(|(id, _)| id);
            callers.chain(inner.dials.keys()).cloned().collect()
        };
        ids.iter().for_each(|id| self.gone(id, &Gone::TakenOver));
    }

    /// Asterisk has been out of reach for so long, or is within reach. Sound needs no control: calls go on as long as
    /// their callers are heard.
    pub fn out_of_reach(&self, time: Option<Duration>) {
        self.give_up.send_if_modified(|now| std::mem::replace(now, time) != time);
    }

    /// Waits until a caller is to be given up: Asterisk is out of reach, and nothing came from the caller for as long.
    pub async fn given_up(&self, silent_for: impl Fn() -> Option<Duration>) {
        let mut give_up = self.give_up.subscribe();
        loop {
            let time = give_up.wait_for(Option::is_some).await.map(|time| *time);
            match time {
                Ok(Some(time)) if silent_for().is_none_or(|silent| silent >= time) => return,
                Ok(_) => sleep(LOOK).await,
                // The sender is in `self`.
                Err(_) => pending().await,
            }
        }
    }

    /// Another channel takes a caller's place; false if that is none of ours.
    pub fn replace(&self, old: &str, new: &str) -> bool {
        let mut inner = self.lock();
        if inner.objects.contains_key(new) || inner.objects.get(old).is_none_or(|o| o.role != Role::Caller) {
            return false;
        }
        if let Some(object) = inner.objects.remove(old) {
            object.fate.send_modify(|fate| {
                fate.id = new.to_owned();
                fate.gone = None;
            });
            inner.objects.insert(new.to_owned(), object);
        }
        true
    }

    /// A key of a caller's phone; false if nobody hears it.
    pub fn digit(&self, id: &str, digit: char) -> bool {
        self.lock().objects.get(id).is_some_and(|object| object.digits.try_send(digit).is_ok())
    }

    /// Asks whoever serves a session to press a key towards its phone; false if nobody does.
    pub fn press(&self, session: &str, digit: char) -> bool {
        let inner = self.lock();
        let named = inner.objects.get(session).filter(|o| o.first_id == session);
        let object = named.or_else(|| inner.objects.values().find(|o| o.first_id == session));
        object.is_some_and(|o| o.role == Role::Caller && o.presses.try_send(digit).is_ok())
    }

    /// Announces a channel that we are about to dial, and the room where it belongs.
    pub fn dial(self: &Arc<Self>, id: &str, room: &str) -> DialWatch {
        let (progress, see) = watch::channel(Progress::Dialling(String::new()));
        self.lock().dials.insert(id.to_owned(), Dialled { room: room.to_owned(), made: false, progress });
        DialWatch { hub: Arc::clone(self), id: id.to_owned(), progress: see }
    }

    /// The room of a channel that we dialled.
    pub fn dialled_room(&self, id: &str) -> Option<String> {
        self.lock().dials.get(id).map(|d| d.room.clone())
    }

    /// What Asterisk says of a channel that we dial.
    pub fn dialling(&self, id: &str, status: &str) {
        self.progress(id, |now| matches!(now, Progress::Dialling(_)), Progress::Dialling(status.to_owned()));
    }

    /// The sound of a channel that we dialled runs.
    pub fn running(&self, id: &str) {
        self.progress(id, |now| matches!(now, Progress::Dialling(_)), Progress::Running);
    }

    /// A channel that we dialled was not taken.
    pub fn refused(&self, id: &str, why: &str) {
        self.progress(id, |now| !matches!(now, Progress::Ended(_)), Progress::Ended(why.to_owned()));
    }

    fn progress(&self, id: &str, when: impl Fn(&Progress) -> bool, next: Progress) {
        if let Some(dialled) = self.lock().dials.get(id) {
            dialled.progress.send_if_modified(|now| {
                let change = when(now);
                if change {
                    *now = next;
                }
                change
            });
        }
    }

    /// What is ours now.
    pub fn known(&self) -> Known {
        let inner = self.lock();
        let place = |o: &Object| Place { turn: o.turn, bridge: o.inside.clone() };
        let objects = inner.objects.iter().filter(|(_, o)| o.made).map(|(id, _)| id);
        let dials = inner.dials.iter().filter(|(_, d)| d.made).map(|(id, _)| id);
        Known {
            ids: inner.objects.iter().map(|(id, o)| (id.clone(), place(o))).collect(),
            dials: inner.dials.keys().cloned().collect(),
            made: objects.chain(dials).cloned().collect(),
            doomed: inner.doomed.clone(),
        }
    }

    /// The next sweep hangs this caller up instead of taking it again.
    pub fn doom(&self, id: &str) {
        self.lock().doomed.insert(id.to_owned());
    }

    /// These are hung up or gone.
    pub fn redeem(&self, ids: &HashSet<String>) {
        self.lock().doomed.retain(|id| !ids.contains(id));
    }

    /// Something may have been left behind in Asterisk.
    pub fn want_sweep(&self) {
        self.sweep.notify_one();
    }

    /// Waits until somebody wants a sweep.
    pub async fn sweep_wanted(&self) {
        self.sweep.notified().await;
    }
}

/// The first end counts.
fn end(object: &Object, gone: &Gone) {
    object.fate.send_if_modified(|fate| {
        let first = fate.gone.is_none();
        if first {
            fate.gone = Some(gone.clone());
        }
        first
    });
}

/// Why a channel that we dialled was not answered. Cause 0 comes from channel drivers that tell no cause.
fn why_not(status: &str, cause: &Cause) -> String {
    match (cause.code, status) {
        (0, "") => "could not be reached".into(),
        (0, "BUSY") => "is busy".into(),
        (0, "NOANSWER" | "RINGING") => "did not answer".into(),
        (0, other) => format!("was not answered ({other})"),
        (17, _) => "is busy".into(),
        (18 | 19, _) => "did not answer".into(),
        (code, _) => format!("was not answered: {} (cause {code})", cause.text),
    }
}

impl Watch {
    /// The present id.
    pub fn id(&self) -> String {
        self.fate.borrow().id.clone()
    }

    /// The present id, for others.
    pub fn ids(&self) -> Ids {
        Ids(self.fate.clone())
    }

    /// Waits for the end.
    pub async fn gone(&mut self) -> Gone {
        gone(&mut self.fate).await
    }

    /// Waits until it has entered our application.
    pub async fn entered(&mut self) {
        if self.fate.wait_for(|fate| fate.entered).await.is_err() {
            // The sender stays as long as the watch.
            pending::<()>().await;
        }
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Gone> {
        self.fate.borrow().gone.clone()
    }

    /// The queue of keys to be pressed towards the phone, once.
    pub fn presses(&mut self) -> Option<mpsc::Receiver<char>> {
        self.presses.take()
    }

    /// The next key of the phone, or the end.
    pub async fn next(&mut self) -> Result<char, Gone> {
        let Watch { fate, digits, .. } = self;
        tokio::select! {
            biased;
            gone = gone(fate) => Err(gone),
            Some(digit) = digits.recv() => Ok(digit),
        }
    }
}

async fn gone(fate: &mut watch::Receiver<Fate>) -> Gone {
    let end = fate.wait_for(|fate| fate.gone.is_some()).await.map(|fate| fate.gone.clone());
    match end {
        Ok(Some(gone)) => gone,
        // The sender stays as long as the watch.
        Ok(None) | Err(_) => pending().await,
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let id = self.id();
        let mut inner = self.hub.lock();
        if inner.objects.get(&id).is_some_and(|object| object.turn == self.turn) {
            inner.objects.remove(&id);
            self.hub.count(&inner);
        }
    }
}

impl DialWatch {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits until it runs or ended; `Err` says why it ended.
    pub async fn running(&mut self) -> Result<(), String> {
        self.until(|progress| !matches!(progress, Progress::Dialling(_))).await
    }

    /// Waits until it ended.
    pub async fn ended(&mut self) -> String {
        match self.until(|progress| matches!(progress, Progress::Ended(_))).await {
            Err(why) => why,
            Ok(()) => pending().await,
        }
    }

    async fn until(&mut self, done: impl FnMut(&Progress) -> bool) -> Result<(), String> {
        let progress = self.progress.wait_for(done).await.map(|progress| progress.clone());
        match progress {
            Ok(Progress::Ended(why)) => Err(why),
            Ok(_) => Ok(()),
            // The sender stays until this is dropped.
            Err(_) => pending().await,
        }
    }
}

impl Drop for DialWatch {
    fn drop(&mut self) {
        self.hub.lock().dials.remove(&self.id);
    }
}
