//! Who meets whom. A caller that names a room goes there; the others are paired by profile in order of arrival.
//!
//! Values only: the library's rooms follow from the names that are given out here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::settings::PartnerGone;

/// Whom a member has with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Nobody has come yet, or it waits again.
    Alone,
    /// At least one other.
    Together,
    /// The partner has left and the call is over.
    Deserted,
}

/// First character of the rooms that are made here for two; refused in names that come from outside.
pub const PAIR_MARK: char = '~';

/// The rooms of one shim.
#[derive(Clone)]
pub struct Rooms {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    pairs: Vec<[String; 2]>,
    partner_gone: PartnerGone,
    /// Tells this run's rooms from those that an earlier run left in channel variables.
    run: String,
    next_pair: u64,
    next_member: u64,
    rooms: BTreeMap<String, Room>,
    /// Unnamed rooms in which a profile waits for its partner, oldest first.
    waiting: VecDeque<(String, String)>,
}

#[derive(Default)]
struct Room {
    members: BTreeMap<u64, Place>,
    /// Made here for two; a room that callers name is open to any number and stays open.
    pair: bool,
    /// Whoever is in it came by the queue, not by a name that was given to it (a call that we made).
    queued: bool,
}

struct Place {
    profile: String,
    tell: watch::Sender<Company>,
    /// Its sound is there; until then its call is being set up.
    connected: bool,
}

/// A place in a room; dropping it leaves the room.
pub struct Member {
    rooms: Rooms,
    room: String,
    profile: String,
    number: u64,
    company: watch::Receiver<Company>,
}

impl Rooms {
    /// No rooms yet. `pairs` are profiles that meet when no room is named.
    pub fn new(pairs: Vec<[String; 2]>, partner_gone: PartnerGone, run: &str) -> Rooms {
        let inner = Inner {
            pairs,
            partner_gone,
            run: run.to_owned(),
            next_pair: 1,
            next_member: 1,
            rooms: BTreeMap::new(),
            waiting: VecDeque::new(),
        };
        Rooms { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is complete before the lock is given back.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a caller its place: in the room it names, else with the oldest partner that waits, else in a new room.
    ///
    /// A name that begins with [`PAIR_MARK`] is one that was given out here, perhaps before a restart.
    pub fn join(&self, profile: &str, room: Option<&str>) -> Member {
        let mut inner = self.lock();
        let room = room.filter(|name| !name.is_empty());
        let queued = room.is_none();
        let room = match room {
            Some(name) => name.to_owned(),
            None => inner.find_partner(profile),
        };
        let number = inner.next_member;
        inner.next_member += 1;
        let (tell, company) = watch::channel(Company::Alone);
        let entry = inner.rooms.entry(room.clone()).or_default();
        entry.pair = room.starts_with(PAIR_MARK);
        entry.queued = queued;
        entry.members.insert(number, Place { profile: profile.to_owned(), tell, connected: false });
        inner.tell(&room);
        Member { rooms: self.clone(), room, profile: profile.to_owned(), number, company }
    }

    /// A room for a call that is made from here: nobody else comes into it.
    pub fn own(&self) -> String {
        self.lock().new_name()
    }

    /// Names of the rooms and how many are in each.
    #[cfg(test)]
    fn list(&self) -> Vec<(String, usize)> {
        self.lock().rooms.iter().map(|(name, room)| (name.clone(), room.members.len())).collect()
    }
}

impl Inner {
    fn find_partner(&mut self, profile: &str) -> String {
        let meets =
            |other: &str| self.pairs.iter().any(|[a, b]| (a == profile && b == other) || (b == profile && a == other));
        if let Some(at) = self.waiting.iter().position(|(other, _)| meets(other))
            && let Some((_, room)) = self.waiting.remove(at)
        {
            return room;
        }
        let name = self.new_name();
        self.waiting.push_back((profile.to_owned(), name.clone()));
        name
    }

    fn new_name(&mut self) -> String {
        let name = format!("{PAIR_MARK}{}{}", self.run, self.next_pair);
        self.next_pair += 1;
        name
    }

    /// Takes back a member whose call came to nothing: its partner is first in the queue again, not deserted.
    fn withdraw(&mut self, name: &str, number: u64) {
        let Some(room) = self.rooms.get_mut(name).filter(|r| r.queued && r.members.contains_key(&number)) else {
            return;
        };
        room.members.remove(&number);
        if let Some(left) = room.members.values().next()
            && room.members.len() == 1
        {
            self.waiting.push_front((left.profile.clone(), name.to_owned()));
        }
        if room.members.is_empty() {
            self.rooms.remove(name);
            self.waiting.retain(|(_, room)| room != name);
        }
        self.tell(name);
    }

    fn tell(&self, room: &str) {
        if let Some(room) = self.rooms.get(room) {
            let company = if room.members.len() > 1 { Company::Together } else { Company::Alone };
            room.members.values().for_each(|place| {
                place.tell.send_if_modified(|now| std::mem::replace(now, company) != company);
            });
        }
    }

    fn leave(&mut self, name: &str, number: u64) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        if room.members.remove(&number).is_none() {
            // It has withdrawn.
            return;
        }
        let (empty, pair) = (room.members.is_empty(), room.pair);
        if empty {
            self.rooms.remove(name);
            self.waiting.retain(|(_, room)| room != name);
        } else if pair && self.partner_gone == PartnerGone::Hangup {
            let queued = room.queued;
            for place in room.members.values() {
                if place.connected || !queued {
                    place.tell.send_replace(Company::Deserted);
                } else {
                    // They never met: its partner gave up while its call was set up. It is the next in the queue.
                    place.tell.send_replace(Company::Alone);
                    self.waiting.push_front((place.profile.clone(), name.to_owned()));
                }
            }
        } else {
            self.tell(name);
        }
    }
}

impl Member {
    /// The room's name, for the library and for events.
    pub fn room(&self) -> &str {
        &self.room
    }

    /// Whom it has with it now.
    pub fn company(&mut self) -> Company {
        *self.company.borrow_and_update()
    }

    /// Waits until that changes.
    pub async fn changed(&mut self) -> Company {
        if self.company.changed().await.is_err() {
            // The sender lives as long as this member's place, so this cannot be reached while it waits.
            return Company::Deserted;
        }
        self.company()
    }

    /// Its sound is there: from now on it counts as somebody whom a partner can desert.
    pub fn connected(&self) {
        let mut inner = self.rooms.lock();
        if let Some(place) = inner.rooms.get_mut(&self.room).and_then(|r| r.members.get_mut(&self.number)) {
            place.connected = true;
        }
    }

    /// It has hung up and only its last words are still heard: nobody is put together with it any more.
    pub fn leaving(&self) {
        let mut inner = self.rooms.lock();
        let alone = inner.rooms.get(&self.room).is_some_and(|r| r.members.len() == 1);
        if alone {
            inner.waiting.retain(|(_, room)| *room != self.room);
        }
    }

    /// Leaves before anything was said: a partner from the queue waits again, as if this one had never come. In a room
    /// with a name it is a leaving as any other.
    pub fn withdraw(self) {
        self.rooms.lock().withdraw(&self.room, self.number);
    }

    /// Joins the queue again after its partner left, in the room where it is.
    pub fn wait_again(&self) {
        let mut inner = self.rooms.lock();
        let alone = inner.rooms.get(&self.room).is_some_and(|r| r.pair && r.members.len() == 1);
        if alone && !inner.waiting.iter().any(|(_, room)| *room == self.room) {
            inner.waiting.push_back((self.profile.clone(), self.room.clone()));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.rooms.lock().leave(&self.room, self.number);
    }
}

/// Whether a name from outside may name a room.
///
/// # Errors
/// What such a name has to be.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(plain) {
        return Ok(());
    }
    Err("a room's name has 1 to 64 letters, digits, '_', '-' or '.'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(gone: PartnerGone) -> Rooms {
        Rooms::new(vec![["7777".into(), "8888".into()]], gone, "")
    }

    #[test]
    fn callers_without_a_room_are_paired_in_order_of_arrival() {
        let rooms = rooms(PartnerGone::Hangup);
        let arrivals = ["7777", "7777", "8888", "7777", "8888", "8888", "8888"];
        let members: Vec<Member> = arrivals.iter().map(|profile| rooms.join(profile, None)).collect();
        let names: Vec<&str> = members.iter().map(Member::room).collect();
        assert_eq!(names, ["~1", "~2", "~1", "~3", "~2", "~3", "~4"]);
    }

    #[test]
    fn a_named_room_is_for_those_who_name_it() {
        let rooms = rooms(PartnerGone::Hangup);
        let mut a = rooms.join("7777", Some("room-42"));
        let mut b = rooms.join("8888", None);
        assert_eq!((a.company(), b.company()), (Company::Alone, Company::Alone));
        let c = rooms.join("8888", Some("room-42"));
        assert_eq!((a.company(), b.company()), (Company::Together, Company::Alone));
        drop(c);
        assert_eq!(a.company(), Company::Alone, "a named room stays open");
        drop((a, b));
        assert_eq!(rooms.list(), []);
    }

    #[test]
    fn a_deserted_partner_is_told_or_waits_again() {
        let strict = rooms(PartnerGone::Hangup);
        let (mut a, b) = (strict.join("7777", None), strict.join("8888", None));
        a.connected();
        drop(b);
        assert_eq!(a.company(), Company::Deserted);
        assert_eq!(strict.join("8888", None).room(), "~2", "nobody is put into a call that is over");

        let open = rooms(PartnerGone::Wait);
        let (mut a, b) = (open.join("7777", None), open.join("8888", None));
        drop(b);
        assert_eq!(a.company(), Company::Alone);
        a.wait_again();
        a.wait_again();
        let c = open.join("8888", None);
        assert_eq!(c.room(), "~1");
        assert_eq!(a.company(), Company::Together);
        assert_eq!(open.join("8888", None).room(), "~2", "it waited once only");
    }

    #[test]
    fn whoever_could_not_be_connected_deserts_nobody() {
        let rooms = rooms(PartnerGone::Hangup);
        let (mut a, b) = (rooms.join("7777", None), rooms.join("7777", None));
        a.connected();
        let c = rooms.join("8888", None);
        assert_eq!((a.company(), c.room()), (Company::Together, "~1"));
        c.withdraw();
        assert_eq!(a.company(), Company::Alone);
        assert_eq!(rooms.join("8888", None).room(), "~1", "it is the first in the queue as before");
        b.withdraw();
        assert_eq!(rooms.list(), [("~1".to_owned(), 1)], "the second 8888 has left as well");
        assert_eq!(rooms.join("8888", None).room(), "~3", "nobody waits any more");
        let own = rooms.own();
        assert_eq!(own, "~4");
        let (mut d, e) = (rooms.join("7777", Some(&own)), rooms.join("8888", Some(&own)));
        e.withdraw();
        assert_eq!(d.company(), Company::Deserted);
        assert_eq!(rooms.join("8888", None).room(), "~5", "no stranger comes into a call that we made");
    }

    #[test]
    fn a_partner_that_gives_up_during_the_set_up_deserts_nobody() {
        let rooms = rooms(PartnerGone::Hangup);
        let a = rooms.join("7777", None);
        a.connected();
        let mut b = rooms.join("8888", None);
        a.leaving();
        drop(a);
        assert_eq!(b.company(), Company::Alone, "its call was only being set up");
        b.connected();
        let c = rooms.join("7777", None);
        assert_eq!((c.room(), b.company()), ("~1", Company::Together), "it is the next in the queue");
        c.connected();
        drop(c);
        assert_eq!(b.company(), Company::Deserted);
    }

    #[test]
    fn nobody_is_put_together_with_somebody_who_has_hung_up() {
        let rooms = rooms(PartnerGone::Hangup);
        let a = rooms.join("7777", None);
        a.connected();
        a.leaving();
        // Its last words drain for seconds.
        assert_eq!(rooms.join("8888", None).room(), "~2");
        drop(a);
    }

    #[test]
    fn whoever_leaves_while_waiting_is_waited_for_no_more() {
        let rooms = rooms(PartnerGone::Hangup);
        drop(rooms.join("7777", None));
        let b = rooms.join("8888", None);
        assert_eq!(b.room(), "~2");
        assert_eq!(rooms.list(), [("~2".to_owned(), 1)]);
    }

    #[test]
    fn names_of_rooms_are_plain() {
        for (name, good) in
            [("room-42", true), ("a.b_C", true), ("", false), ("~1", false), ("a b", false), ("é", false)]
        {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
        assert!(check_name(&"x".repeat(65)).is_err());
    }
}
