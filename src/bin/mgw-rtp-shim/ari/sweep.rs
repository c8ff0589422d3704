//! Brings our calls and Asterisk's objects together after a connection was made: removes what an earlier run (or a
//! request that failed) left behind, takes up callers whom nobody serves, ends calls whose caller is gone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::event::{Cause, Channel};
use super::hub::{Gone, Known};
use super::names::{Kind, Names};
use super::rest::{Bridge, Error, Reason};
use super::{Caller, Control};
use crate::rooms::PAIR_MARK;

/// Names of the caller's extension and room on its channel.
pub const PROFILE: &str = "MGW_PROFILE";
pub const ROOM: &str = "MGW_ROOM";

/// How often, at the end, it is looked for callers whom nobody has heard of.
const LAST_LOOKS: usize = 20;
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// What Asterisk has, and what we had before and after it was asked.
struct Seen<'a> {
    app: &'a str,
    names: &'a Names,
    channels: &'a [Channel],
    bridges: &'a [Bridge],
    /// Channels whose events we get.
    subscribed: &'a HashSet<String>,
    before: &'a Known,
    after: &'a Known,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    destroy: Vec<String>,
    hang_up: Vec<String>,
    /// Callers in our application whom nobody serves, with the arguments they came with.
    adopt: Vec<(Channel, Vec<String>)>,
    /// Ours, but Asterisk does not have them any more.
    gone: Vec<String>,
    /// Callers of ours who are elsewhere in Asterisk.
    left: Vec<String>,
    /// External media that is out of its bridge, and bridges out of which a caller was taken.
    outside: Vec<String>,
    /// Ours, but we would not hear of their end.
    subscribe: Vec<String>,
}

fn plan(seen: &Seen<'_>) -> Plan {
    let mut plan = Plan::default();
    let present: HashSet<&str> =
        seen.channels.iter().map(|c| c.id.as_str()).chain(seen.bridges.iter().map(|b| b.id.as_str())).collect();
    let bridged: HashMap<&str, &str> =
        seen.bridges.iter().flat_map(|b| b.channels.iter().map(|c| (c.as_str(), b.id.as_str()))).collect();
    // What we knew before has been there when Asterisk was asked, or is gone; what came later may be missing here.
    plan.gone = seen.before.made.iter().filter(|id| !present.contains(id.as_str())).cloned().collect();
    plan.gone.sort_unstable();
    for Bridge { id, .. } in seen.bridges {
        // What we know afterwards may have come in between, so it is no orphan.
        if seen.names.kind(id) == Some(Kind::Bridge) && !seen.after.ids.contains_key(id) {
            plan.destroy.push(id.clone());
        }
    }
    for channel in seen.channels {
        let id = &channel.id;
        let (kind, here) = (seen.names.kind(id), channel.in_app(seen.app));
        if let Some(place) = seen.after.ids.get(id) {
            if seen.before.made.contains(id) && !seen.subscribed.contains(id) {
                plan.subscribe.push(id.clone());
            }
            // Only of what stayed the same while Asterisk was asked it is known how it should have been.
            if let Some(wanted) = &place.bridge
                && seen.before.ids.get(id) == Some(place)
                && bridged.get(id.as_str()) != Some(&wanted.as_str())
            {
                match (kind, here) {
                    (Some(Kind::Media), _) => plan.outside.push(id.clone()),
                    (_, Some(_)) => plan.outside.push(wanted.clone()),
                    (_, None) => plan.left.push(id.clone()),
                }
            }
            continue;
        }
        match (kind, here) {
            (Some(Kind::Media), _) => plan.hang_up.push(id.clone()),
            (_, Some(_)) if seen.before.doomed.contains(id) => plan.hang_up.push(id.clone()),
            // Its call has just ended; whoever ended it wants another sweep, if it is to be served again.
            (_, Some(_)) if seen.before.ids.contains_key(id) => {}
            (_, Some(_)) if seen.before.dials.contains(id) && !seen.after.dials.contains(id) => {}
            // It rings, and somebody waits for it.
            (_, None) if seen.after.dials.contains(id) => {}
            (_, Some(args)) => {
                if !seen.subscribed.contains(id) {
                    plan.subscribe.push(id.clone());
                }
                plan.adopt.push((channel.clone(), args));
            }
            // It still rings, and nobody waits for it.
            (Some(Kind::Out), None) => plan.hang_up.push(id.clone()),
            _ => {}
        }
    }
    plan
}

/// A pair's room is for those who were in it; whoever comes back alone waits anew.
fn keep_rooms(rooms: &mut [Option<String>]) {
    let mut count: HashMap<String, usize> = HashMap::new();
    rooms.iter().flatten().for_each(|room| *count.entry(room.clone()).or_default() += 1);
    for room in rooms {
        if room.as_ref().is_some_and(|name| name.is_empty() || (name.starts_with(PAIR_MARK) && count[name] < 2)) {
            *room = None;
        }
    }
}

/// Clears up; gives the callers who are to be served.
///
/// # Errors
/// Asterisk could not be asked; the connection is of no use then.
pub async fn sweep(control: &Control) -> Result<Vec<Caller>, Error> {
    let (rest, hub) = (&control.rest, &control.hub);
    let before = hub.known();
    let (channels, bridges, subscribed) = tokio::try_join!(rest.channels(), rest.bridges(), rest.subscribed())?;
    let after = hub.known();
    let subscribed = subscribed.into_iter().collect();
    let plan = plan(&Seen {
        app: &control.app,
        names: &control.names,
        channels: &channels,
        bridges: &bridges,
        subscribed: &subscribed,
        before: &before,
        after: &after,
    });
    for id in &plan.gone {
        tracing::info!(%id, "Asterisk does not have this any more");
        hub.gone(id, &Gone::Destroyed(Cause::default()));
    }
    for id in plan.left.iter().chain(&plan.outside) {
        tracing::info!(%id, "this was taken out of its call while we heard nothing");
        hub.gone(id, &Gone::Left);
    }
    let removals = join_all(plan.destroy.iter().map(|id| rest.destroy_bridge(id)))
        .await
        .into_iter()
        .chain(join_all(plan.hang_up.iter().map(|id| rest.hang_up(id, Reason::Normal))).await);
    for (id, removed) in plan.destroy.iter().chain(&plan.hang_up).zip(removals) {
        match removed {
            Ok(()) => {
                control.status.count(|c| &c.swept);
                tracing::info!(%id, "removed from Asterisk: it belonged to no call");
            }
            Err(error @ (Error::Unreachable(_) | Error::Timeout(_))) => return Err(error),
            Err(error) => tracing::warn!(%id, %error, "left behind in Asterisk, and not to be removed"),
        }
    }
    hub.redeem(&before.doomed);
    for subscribed in join_all(plan.subscribe.iter().map(|id| rest.subscribe(id))).await {
        match subscribed {
            Ok(()) | Err(Error::NotFound(_) | Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    adopt(control, plan.adopt).await
}

/// Hangs up callers who came when nobody heard their event any more: Asterisk lets our application go a moment after the
/// connection is closed, and not as long as somebody is in it.
pub async fn refuse_the_last(control: &Control) {
    let rest = &control.rest;
    for _ in 0..LAST_LOOKS {
        let channels = match rest.channels().await {
            Ok(channels) => channels,
            Err(error) => return tracing::warn!(%error, "it is not known whether a caller was left behind"),
        };
        let known = control.hub.known();
        let ours = |c: &&Channel| control.names.kind(&c.id) == Some(Kind::Media) || known.ids.contains_key(&c.id);
        let late = channels.iter().filter(|c| c.in_app(&control.app).is_some() && !ours(c));
        let refused = join_all(late.map(|channel| async {
            control.status.count(|c| &c.refused);
            tracing::warn!(channel = %channel.id, from = %channel.number, "a call is refused: the shim is stopping");
            rest.hang_up(&channel.id, Reason::Busy).await
        }));
        if let Some(error) = refused.await.into_iter().find_map(Result::err) {
            tracing::warn!(%error, "a caller is left behind");
        }
        if rest.app_exists(&control.app).await == Ok(false) {
            return;
        }
        sleep(LAST_PAUSE).await;
    }
}

async fn adopt(control: &Control, found: Vec<(Channel, Vec<String>)>) -> Result<Vec<Caller>, Error> {
    let rest = &control.rest;
    let marks = join_all(found.iter().map(|(channel, _)| async {
        tokio::try_join!(rest.variable(&channel.id, PROFILE), rest.variable(&channel.id, ROOM))
    }));
    let marks = marks.await.into_iter().collect::<Result<Vec<_>, Error>>()?;
    let mut rooms: Vec<Option<String>> = marks
        .iter()
        .zip(&found)
        .map(|((_, room), (_, args))| Some(room).filter(|r| !r.is_empty()).or(args.get(1)).cloned())
        .collect();
    keep_rooms(&mut rooms);
    let callers = found.into_iter().zip(marks).zip(rooms).map(|(((channel, args), (profile, _)), room)| {
        control.status.count(|c| &c.adopted);
        // The others of a call that we make may be here already.
        let room = control.hub.dialled_room(&channel.id).or(room);
        let extension = if profile.is_empty() { args.into_iter().next().unwrap_or_default() } else { profile };
        tracing::info!(channel = %channel.id, %extension, ?room, "a caller without a call is taken up");
        Caller { channel, extension, room, room_is_ours: true }
    });
    Ok(callers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ari::hub::Place;

    fn set(ids: &[&str]) -> HashSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn known(ids: &[&str]) -> Known {
        let ids_ = ids.iter().map(|id| ((*id).to_owned(), Place::default())).collect();
        Known { ids: ids_, made: set(ids), ..Known::default() }
    }

    fn channel(id: &str, app_name: &str, app_data: &str) -> Channel {
        Channel { id: id.into(), app_name: app_name.into(), app_data: app_data.into(), ..Channel::default() }
    }

    fn bridge(id: &str, channels: &[&str]) -> Bridge {
        Bridge { id: id.into(), channels: channels.iter().map(|c| (*c).to_owned()).collect() }
    }

    fn planned(channels: &[Channel], bridges: &[&str], before: &Known, after: &Known) -> Plan {
        let bridges: Vec<Bridge> = bridges.iter().map(|b| bridge(b, &[])).collect();
        let subscribed = channels.iter().map(|c| c.id.clone()).collect();
        let names = Names::new("mgw", 1);
        plan(&Seen { app: "mgw", names: &names, channels, bridges: &bridges, subscribed: &subscribed, before, after })
    }

    #[test]
    fn what_an_earlier_run_left_is_removed_and_its_callers_are_taken_up() {
        let channels = [
            channel("17.1", "Stasis", "mgw,7777"),
            channel("17.2", "Stasis", "mgw,8888,room-42"),
            channel("mgw-mgw-0000abcd-1-em", "Stasis", "mgw"),
            channel("mgw-mgw-0000abcd-2-em2", "AppDial2", "(Outgoing Line)"),
            channel("mgw-mgw-0000abcd-3-out", "AppDial2", "(Outgoing Line)"),
            channel("mgw-mgw-0000abcd-4-out", "Stasis", "mgw,7777,~x1"),
        ];
        let plan = planned(&channels, &["mgw-mgw-0000abcd-1"], &Known::default(), &Known::default());
        assert_eq!(plan.destroy, ["mgw-mgw-0000abcd-1"]);
        assert_eq!(plan.hang_up, ["mgw-mgw-0000abcd-1-em", "mgw-mgw-0000abcd-2-em2", "mgw-mgw-0000abcd-3-out"]);
        let adopted: Vec<(&str, String)> = plan.adopt.iter().map(|(c, args)| (c.id.as_str(), args.join(" "))).collect();
        assert_eq!(
            adopted,
            [("17.1", "7777".into()), ("17.2", "8888 room-42".into()), ("mgw-mgw-0000abcd-4-out", "7777 ~x1".into())]
        );
        assert_eq!(plan.gone, Vec::<String>::new());
    }

    #[test]
    fn what_belongs_to_others_or_to_running_calls_is_left_alone() {
        let channels = [
            channel("17.1", "Stasis", "mgw,7777"),
            channel("17.2", "Stasis", "other,7777"),
            channel("17.3", "Dial", "mgw,7777"),
            channel("mgw-other-0000abcd-1-em", "Stasis", "other"),
            channel("mgw-mgw-0000abcd-5-out;2", "Wait", "60"),
            channel("mgw-mgw-00000001-1-em", "Stasis", "mgw"),
        ];
        let bridges = ["mgw-other-0000abcd-1", "mgw-mgw-00000001-1", "7e1c0d52-0000"];
        let ours = known(&["17.1", "mgw-mgw-00000001-1-em", "mgw-mgw-00000001-1"]);
        assert_eq!(planned(&channels, &bridges, &ours, &ours), Plan::default());
    }

    #[test]
    fn a_call_that_begins_or_ends_while_asterisk_is_asked_is_neither_orphan_nor_gone() {
        let ours = known(&["17.1", "mgw-mgw-00000001-1", "mgw-mgw-00000001-1-em"]);
        let channels = [channel("17.1", "Stasis", "mgw,7777"), channel("mgw-mgw-00000001-1-em", "Stasis", "mgw")];
        // It began while the lists were on their way: they have it or not.
        assert_eq!(planned(&channels, &["mgw-mgw-00000001-1"], &Known::default(), &ours), Plan::default());
        assert_eq!(planned(&[], &[], &Known::default(), &ours), Plan::default());
        // It is being set up: watched, but not yet known to be made.
        let asked = Known { made: set(&["17.1"]), ..ours.clone() };
        assert_eq!(planned(&channels[..1], &[], &asked, &asked), Plan::default());
    }

    #[test]
    fn a_caller_whose_call_ends_meanwhile_is_not_taken_up() {
        let ours = known(&["17.1"]);
        let channels = [channel("17.1", "Stasis", "mgw,7777")];
        assert_eq!(planned(&channels, &[], &ours, &Known::default()), Plan::default());
    }

    #[test]
    fn a_channel_that_we_dial_is_taken_up_if_its_answer_was_missed() {
        let id = "mgw-mgw-00000001-1-out";
        let dialling = Known { dials: set(&[id]), made: set(&[id]), ..Known::default() };
        let (rings, answered) = (channel(id, "AppDial2", "(Outgoing Line)"), channel(id, "Stasis", "mgw,7777,~a1"));
        assert_eq!(planned(&[rings], &[], &dialling, &dialling), Plan::default());
        let plan = planned(std::slice::from_ref(&answered), &[], &dialling, &dialling);
        assert_eq!(plan.adopt, [(answered.clone(), vec!["7777".to_owned(), "~a1".to_owned()])]);
        // It is a call already, or the call to which it belonged came to nothing meanwhile.
        let taken = Known { dials: set(&[id]), ..known(&[id]) };
        assert_eq!(planned(std::slice::from_ref(&answered), &[], &taken, &taken), Plan::default());
        assert_eq!(planned(&[answered], &[], &dialling, &Known::default()), Plan::default());
        // It ended unheard.
        assert_eq!(planned(&[], &[], &dialling, &dialling).gone, [id]);
    }

    #[test]
    fn what_was_taken_out_of_its_call_unheard_is_noticed() {
        let (caller, media, own) = ("17.1", "mgw-mgw-00000001-1-em", "mgw-mgw-00000001-1");
        let inside = |turn| Place { turn, bridge: Some(own.to_owned()) };
        let mut ours = known(&[caller, media, own]);
        ours.ids.insert(caller.into(), inside(1));
        ours.ids.insert(media.into(), inside(2));
        let here = channel(caller, "Stasis", "mgw,7777");
        let away = channel(caller, "Playback", "tt-monkeys");
        let both = |caller: &Channel| [caller.clone(), channel(media, "Stasis", "mgw")];
        let seen = |channels: &[Channel], inside: &[&str], before: &Known| {
            let subscribed = channels.iter().map(|c| c.id.clone()).collect();
            let (names, bridges) = (Names::new("mgw", 1), [bridge(own, inside)]);
            let seen = Seen {
                app: "mgw",
                names: &names,
                channels,
                bridges: &bridges,
                subscribed: &subscribed,
                before,
                after: &ours,
            };
            plan(&seen)
        };
        let out = |what: &str| Plan { outside: vec![what.into()], ..Plan::default() };
        let left = Plan { left: vec![caller.into()], ..Plan::default() };
        assert_eq!(seen(&both(&here), &[caller, media], &ours), Plan::default());
        assert_eq!(seen(&both(&here), &[media], &ours), out(own), "it is put back");
        assert_eq!(seen(&both(&here), &[caller], &ours), out(media), "it is made again");
        assert_eq!(seen(&both(&away), &[media], &ours), left);
        // It came back, or was put into the bridge, while Asterisk was asked.
        for place in [inside(0), Place { turn: 1, bridge: None }] {
            let mut before = ours.clone();
            before.ids.insert(caller.into(), place);
            assert_eq!(seen(&both(&away), &[media], &before), Plan::default());
        }
    }

    #[test]
    fn calls_of_a_restarted_asterisk_are_over() {
        let ours = known(&["17.1", "mgw-mgw-00000001-1", "mgw-mgw-00000001-1-em"]);
        let plan = planned(&[], &[], &ours, &ours);
        assert_eq!(plan.gone, ["17.1", "mgw-mgw-00000001-1", "mgw-mgw-00000001-1-em"]);
    }

    #[test]
    fn a_caller_that_could_not_be_hung_up_is_not_taken_again() {
        let doomed = Known { doomed: set(&["17.1"]), ..Known::default() };
        let plan = planned(&[channel("17.1", "Stasis", "mgw,7777")], &[], &doomed, &Known::default());
        assert_eq!((plan.hang_up, plan.adopt), (vec!["17.1".to_owned()], Vec::new()));
    }

    #[test]
    fn channels_of_which_we_hear_nothing_are_subscribed_to() {
        let channels = [channel("17.1", "Stasis", "mgw,7777"), channel("17.2", "Stasis", "mgw,8888")];
        let (ours, names) = (known(&["17.1"]), Names::new("mgw", 1));
        let nothing = HashSet::new();
        let seen = Seen {
            app: "mgw",
            names: &names,
            channels: &channels,
            bridges: &[],
            subscribed: &nothing,
            before: &ours,
            after: &ours,
        };
        assert_eq!(plan(&seen).subscribe, ["17.1", "17.2"]);
    }

    #[test]
    fn pairs_are_kept_if_both_come_back() {
        let some = |name: &str| Some(name.to_owned());
        let mut rooms = [some("~a1"), some("~a2"), some("room-42"), some("~a1"), None, some("")];
        keep_rooms(&mut rooms);
        assert_eq!(rooms, [some("~a1"), None, some("room-42"), some("~a1"), None, None]);
    }
}
