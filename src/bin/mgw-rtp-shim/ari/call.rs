//! One call: from a caller in our application to the removal of everything that was made for it.
//!
//! The caller is answered late, when all is ready: until then it hears that it rings, and a call that cannot be had is
//! refused without ever being answered. Taking a call costs three round trips to Asterisk: bridge, external media and
//! marks at the same time, then the answer, then both channels into the bridge.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mgw::engine::LeaveMode;
use tokio::time::timeout;

use super::hub::Gone;
use super::rest::{Error, Reason};
use super::sweep::{PROFILE, ROOM};
use super::wiring::{Ask, Happening, Wiring};
use super::{Caller, Control};
use crate::attend::{Over, attend, digit, part};
use crate::calls::{Row, Transport};
use crate::media::{Leg, MediaError, Peer, Permit, Who};
use crate::rooms::{self, Member};
use crate::settings::Extension;
use crate::shim::Shim;

/// Why a caller is not served.
struct Refusal {
    reason: Reason,
    text: String,
    /// Asterisk does not have something any more, most often since the caller hung up; the event may be on its way.
    missing: bool,
}

impl Refusal {
    fn new(reason: Reason, text: impl Into<String>) -> Refusal {
        Refusal { reason, text: text.into(), missing: false }
    }
}

/// What a call needs before anything is asked of Asterisk.
struct Place {
    extension: Extension,
    permit: Permit,
    member: Member,
}

/// How a call ended.
enum End {
    Caller(Gone),
    Over(Over),
    /// Asterisk is out of reach, and nothing comes from the caller.
    GivenUp,
    /// Its sound broke and could not be made again.
    Broken(String),
}

/// Serves a caller in a task of its own. Rooms are given here, in order of arrival.
pub fn take(shim: &Arc<Shim>, control: &Arc<Control>, caller: Caller) {
    let Some(wiring) = Wiring::claim(control, &caller.channel.id) else {
        tracing::debug!(channel = %caller.channel.id, "this caller is served already");
        // If it went away and came back unheard, it is in no bridge now.
        control.hub.want_sweep();
        return;
    };
    let place = place(shim, &caller);
    let (shim, control) = (Arc::clone(shim), Arc::clone(control));
    shim.tasks.clone().spawn(async move {
        match place {
            Ok(place) => serve(&shim, &control, wiring, &caller, place).await,
            Err(refusal) => refuse(&control, wiring, &caller, &refusal).await,
        }
    });
}

fn place(shim: &Shim, caller: &Caller) -> Result<Place, Refusal> {
    if shim.closing.is_cancelled() {
        return Err(Refusal::new(Reason::Busy, "the shim is stopping"));
    }
    let Some(extension) = shim.settings.extension(&caller.extension) else {
        let text = format!(
            "Stasis() was called for extension \"{}\", but only {} have a [shim.extension.NAME]",
            caller.extension,
            shim.settings.extension_names()
        );
        return Err(Refusal::new(Reason::Unallocated, text));
    };
    if let Some(room) = &caller.room {
        check_room(room, caller.room_is_ours).map_err(|why| {
            Refusal::new(Reason::Unallocated, format!("Stasis() was called for room \"{room}\", but {why}"))
        })?;
    }
    let permit = shim.media.admit().map_err(no_media)?;
    let member = shim.rooms.join(&extension.profile, caller.room.as_deref());
    Ok(Place { extension: extension.clone(), permit, member })
}

/// Only names that we gave may be a pair's.
fn check_room(room: &str, ours: bool) -> Result<(), &'static str> {
    let plain = if ours { room.strip_prefix(rooms::PAIR_MARK).unwrap_or(room) } else { room };
    rooms::check_name(plain)
}

fn no_media(error: MediaError) -> Refusal {
    match error {
        MediaError::Busy(text) => Refusal::new(Reason::Busy, text),
        MediaError::Failed(text) => Refusal::new(Reason::Congestion, text),
    }
}

fn no_asterisk(error: Error) -> Refusal {
    let missing = matches!(error, Error::NotFound(_));
    Refusal { missing, ..Refusal::new(Reason::Congestion, error.to_string()) }
}

async fn refuse(control: &Control, mut wiring: Wiring, caller: &Caller, refusal: &Refusal) {
    let channel = &caller.channel;
    if wiring.hung_up(refusal.missing).await {
        tracing::info!(channel = %channel.id, "the caller hung up before its call was set up");
    } else {
        control.status.count(|c| &c.refused);
        tracing::warn!(
            channel = %channel.id, name = %channel.name, from = %channel.number, reason = ?refusal.reason,
            why = %refusal.text, "a call is refused"
        );
    }
    control.hub.refused(&channel.id, &refusal.text);
    join(wiring.take_down(Some(refusal.reason))).await;
}

/// A panic in there was told when it happened.
async fn join(task: tokio::task::JoinHandle<()>) {
    let _ = task.await;
}

async fn serve(shim: &Shim, control: &Control, mut wiring: Wiring, caller: &Caller, place: Place) {
    let Place { extension, permit, member } = place;
    let who = Who { id: caller.channel.id.clone(), extension: extension.clone(), room: member.room().to_owned() };
    let leg = match raise(shim, &mut wiring, caller, &who, permit.clone()).await {
        Ok(leg) => leg,
        Err(refusal) => {
            member.withdraw();
            refuse(control, wiring, caller, &refusal).await;
            return;
        }
    };
    control.status.count(|c| &c.taken);
    control.hub.running(&who.id);
    tracing::info!(
        channel = %who.id, name = %caller.channel.name, from = %caller.channel.number, extension = %extension.name,
        room = %who.room, "a call is taken"
    );
    converse(shim, control, wiring, leg, permit, member, &who).await;
}

/// Port, external media and session, connected with each other and with the caller.
async fn raise(shim: &Shim, wiring: &mut Wiring, caller: &Caller, who: &Who, permit: Permit) -> Result<Leg, Refusal> {
    let extension = &who.extension;
    let reserved = shim.media.reserve(extension.port).map_err(no_media)?;
    let variables = [(PROFILE, extension.name.as_str()), (ROOM, who.room.as_str())];
    let up = caller.channel.state == "Up";
    let format = extension.codec.format();
    let ask = Ask { host: reserved.address, format, ring: caller.channel.state == "Ring", variables: &variables };
    let peer = wiring.build(&ask).await.map_err(no_asterisk)?;
    let leg = shim.media.rtp_leg(permit, reserved, peer, Peer::Asterisk, who.clone()).map_err(no_media)?;
    match wiring.connect(!up).await {
        Ok(()) => Ok(leg),
        Err(error) => {
            leg.close(LeaveMode::Now).await;
            Err(no_asterisk(error))
        }
    }
}

/// How often the sound of a call is made again; whatever breaks it more often is not mended by that.
const RENEWALS: usize = 3;
const RENEWALS_WITHIN: Duration = Duration::from_secs(60);
/// Time for a broken leg to give its port back; the new one does not wait for more.
const CLOSE_FIRST: Duration = Duration::from_millis(100);

/// When the sound of a call was made again.
#[derive(Default)]
struct Renewals(VecDeque<Instant>);

impl Renewals {
    /// Counts one more; false if there were too many lately.
    fn one_more(&mut self, now: Instant) -> bool {
        while self.0.front().is_some_and(|then| now.duration_since(*then) >= RENEWALS_WITHIN) {
            self.0.pop_front();
        }
        let allowed = self.0.len() < RENEWALS;
        if allowed {
            self.0.push_back(now);
        }
        allowed
    }
}

/// The sound of a call once more, after it broke.
async fn renew(shim: &Shim, wiring: &mut Wiring, who: &Who, permit: Permit) -> Result<Leg, Refusal> {
    let reserved = shim.media.reserve(who.extension.port).map_err(no_media)?;
    let peer = wiring.renew(reserved.address, who.extension.codec.format()).await.map_err(no_asterisk)?;
    shim.media.rtp_leg(permit, reserved, peer, Peer::Asterisk, who.clone()).map_err(no_media)
}

async fn converse(
    shim: &Shim,
    control: &Control,
    mut wiring: Wiring,
    mut leg: Leg,
    permit: Permit,
    mut member: Member,
    who: &Who,
) {
    let mut pressing = pin!(wiring.presser());
    let mut renewals = Renewals::default();
    let mut row = shim.calls.add(who.clone(), Transport::Ari, leg.control().clone());
    let (end, left) = loop {
        let end = tokio::select! {
            end = hear(shim, control, &mut wiring, &mut leg, &mut member, &row, who) => end,
            () = &mut pressing => continue,
        };
        match end {
            End::Broken(_) | End::Over(Over::LegEnded) if renewals.one_more(Instant::now()) => {
                tracing::warn!(channel = %who.id, "the sound of a call broke; it is made again");
                drop(row);
                let closing = shim.tasks.spawn(leg.close(LeaveMode::Now));
                let _ = timeout(CLOSE_FIRST, closing).await;
                match renew(shim, &mut wiring, who, permit.clone()).await {
                    Ok(again) => {
                        control.status.count(|c| &c.media_renewed);
                        leg = again;
                        row = shim.calls.add(who.clone(), Transport::Ari, leg.control().clone());
                    }
                    Err(refusal) => break (End::Broken(refusal.text), None),
                }
            }
            end => break (end, Some((leg, row))),
        }
    };
    let (hang_up, over) = match &end {
        // Others have the caller now, or nobody knows: what was said last is of use to nobody.
        End::Caller(Gone::TakenOver) | End::GivenUp => (None, Over::Asked),
        End::Caller(_) => (None, Over::LegEnded),
        End::Over(over) => (Some(Reason::Normal), *over),
        End::Broken(_) => (Some(Reason::Congestion), Over::LegEnded),
    };
    let why = match &end {
        End::Caller(gone) => format!("caller: {gone:?}"),
        End::Over(over) => format!("{over:?}"),
        End::GivenUp => "Asterisk is out of reach, and nothing comes from the caller".to_owned(),
        End::Broken(why) => why.clone(),
    };
    tracing::info!(channel = %who.id, %why, "a call is over");
    // The channels go at once; the last words may take longer.
    let down = wiring.take_down(hang_up);
    match left {
        Some((leg, row)) => {
            // The caller may be back before its last words are spoken, and then the name in the table is its new call's.
            drop(row);
            part(shim, leg, member, over).await;
        }
        None => drop(member),
    }
    drop(permit);
    join(down).await;
}

/// Until the call or its sound ends.
async fn hear(
    shim: &Shim,
    control: &Control,
    wiring: &mut Wiring,
    leg: &mut Leg,
    member: &mut Member,
    row: &Row,
    who: &Who,
) -> End {
    let phone = leg.control().clone();
    let mut given_up = pin!(control.hub.given_up(|| phone.silent_for()));
    let mut attending = pin!(attend(shim, leg, member, row, &who.extension));
    loop {
        tokio::select! {
            biased;
            happening = wiring.next() => match happening {
                Happening::Caller(gone) => return End::Caller(gone),
                Happening::Broken => return End::Broken("the external media channel or the bridge has gone".into()),
                // Keys do not come over an external media channel's RTP, only as events.
                Happening::Digit(pressed) => digit(shim, &phone, row, pressed),
            },
            over = &mut attending => return End::Over(over),
            () = &mut given_up => return End::GivenUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sound_of_a_call_is_made_again_but_not_for_ever() {
        let (mut renewals, begin) = (Renewals::default(), Instant::now());
        let mut at = |seconds| renewals.one_more(begin + Duration::from_secs(seconds));
        assert_eq!([0, 10, 20, 21, 59].map(&mut at), [true, true, true, false, false]);
        assert_eq!([60, 61, 70, 79, 80].map(&mut at), [true, false, true, false, true]);
    }

    #[test]
    fn a_pair_s_room_is_only_for_those_whom_we_put_there() {
        for (room, ours, good) in [
            ("room-42", false, true),
            ("~a1", false, false),
            ("~a1", true, true),
            ("room-42", true, true),
            ("~~a1", true, false),
            ("a b", true, false),
            ("~", true, false),
        ] {
            assert_eq!(check_room(room, ours).is_ok(), good, "{room} {ours}");
        }
    }
}
