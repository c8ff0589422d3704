//! What a call needs in Asterisk: a bridge, an external media channel, and both that and the caller in the bridge.
//!
//! Whatever was asked for is removed again, however the call ends: by [`Wiring::take_down`], or by dropping it (a
//! panic). When Asterisk cannot be asked, the next sweep does it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Control;
use super::hub::{Gone, Role, Watch};
use super::names::CallNames;
use super::rest::{Error, Reason, Rest};

/// An external media channel enters our application a moment after the request that made it. Put into a bridge before,
/// it is refused (422) or, on a busy machine, seen to be mute; so its event is waited for, if the connection that brings
/// it is up.
const ENTRY: Duration = Duration::from_millis(500);
const ENTRY_TRIES: usize = 20;
const ENTRY_PAUSE: Duration = Duration::from_millis(25);
/// When the caller leaves the bridge, its hang-up is told within this time, if that is why.
const GRACE: Duration = Duration::from_millis(300);
/// Pause before a removal that failed is tried once more.
const RETRY: Duration = Duration::from_millis(200);

/// Which external media, and what to say of the call.
pub struct Ask<'a> {
    /// Where our RTP port is.
    pub host: SocketAddr,
    /// Asterisk's name of the payload format.
    pub format: &'a str,
    /// Whether the caller is to hear that it rings.
    pub ring: bool,
    /// Set on the caller's channel, so that a later run finds them.
    pub variables: &'a [(&'a str, &'a str)],
}

/// What happened to a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Happening {
    /// A key of the phone.
    Digit(char),
    Caller(Gone),
    /// The external media channel or the bridge ended by itself.
    Broken,
}

/// A call's objects in Asterisk.
pub struct Wiring {
    parts: Option<Parts>,
    presses: Option<mpsc::Receiver<char>>,
}

struct Parts {
    control: Arc<Control>,
    names: CallNames,
    caller: Watch,
    bridge: Watch,
    media: Watch,
    /// Asked for, so that there may be something to remove.
    asked: Vec<Asked>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Bridge(String),
    Media(String),
}

impl Asked {
    async fn remove(&self, rest: &Rest) -> Result<(), Error> {
        match self {
            Asked::Bridge(id) => rest.destroy_bridge(id).await,
            Asked::Media(id) => rest.hang_up(id, Reason::Normal).await,
        }
    }
}

impl Wiring {
    /// Takes charge of a caller; `None` if its call is served already. Asks nothing of Asterisk.
    pub fn claim(control: &Arc<Control>, caller: &str) -> Option<Wiring> {
        let mut caller = control.hub.watch(caller, Role::Caller)?;
        let names = control.names.call();
        let bridge = control.hub.watch(&names.bridge, Role::Own)?;
        let media = control.hub.watch(&names.media, Role::Own)?;
        let presses = caller.presses();
        let parts = Parts { control: Arc::clone(control), names, caller, bridge, media, asked: Vec::new() };
        Some(Wiring { parts: Some(parts), presses })
    }

    /// Only [`Wiring::take_down`] and `drop` take the parts, and both end `self`.
    fn parts(&mut self) -> Result<&mut Parts, Error> {
        self.parts.as_mut().ok_or_else(|| Error::NotFound("the call is over".into()))
    }

    /// Makes bridge and external media, and marks the caller's channel, all at the same time. Gives where our RTP is
    /// to be sent.
    ///
    /// # Errors
    /// The first failure. What was made stays until [`Wiring::take_down`].
    pub async fn build(&mut self, ask: &Ask<'_>) -> Result<SocketAddr, Error> {
        let parts = self.parts()?;
        let (bridge, media, caller) = (&parts.names.bridge, &parts.names.media, parts.caller.id());
        parts.asked.extend([Asked::Bridge(bridge.clone()), Asked::Media(media.clone())]);
        let rest = &parts.control.rest;
        let ring = async {
            if ask.ring
                && let Err(error) = rest.ring(&caller).await
            {
                tracing::debug!(channel = %caller, %error, "the caller does not hear that it rings");
            }
        };
        let marks = futures_util::future::join_all(
            ask.variables.iter().map(|(name, value)| rest.set_variable(&caller, name, value)),
        );
        // To the end even if one fails: a request that is given up may still be carried out, after the removal.
        let (bridged, peer, marked, ()) =
            tokio::join!(rest.create_bridge(bridge), rest.external_media(media, ask.host, ask.format), marks, ring);
        if bridged.is_ok() {
            parts.control.hub.made(bridge);
        }
        if peer.is_ok() {
            parts.control.hub.made(media);
        }
        for result in [&bridged, &peer.as_ref().map(|_| ()).map_err(Clone::clone)].into_iter().chain(&marked) {
            if let Err(Error::Timeout(_) | Error::Unreachable(_)) = result {
                parts.control.hub.want_sweep();
            }
        }
        bridged?;
        let peer = peer?;
        marked.into_iter().collect::<Result<Vec<()>, Error>>()?;
        Ok(peer)
    }

    /// Answers the caller, if that is still to be done, and lets it and the external media hear each other.
    pub async fn connect(&mut self, answer: bool) -> Result<(), Error> {
        let parts = self.parts()?;
        let (rest, caller) = (&parts.control.rest, parts.caller.id());
        if parts.caller.ended().is_some() {
            // If it is back already, it belongs to another call.
            return Err(Error::NotFound("the caller has left".into()));
        }
        let answered = async { if answer { rest.answer(&caller).await } else { Ok(()) } };
        let (answered, _) = tokio::join!(answered, timeout(ENTRY, parts.media.entered()));
        answered?;
        let both = [caller.as_str(), &parts.names.media];
        enter(rest, &parts.names.bridge, &both).await?;
        parts.control.hub.inside(&parts.names.bridge, &both);
        Ok(())
    }

    /// Makes another external media channel in the place of one that ended or fell out of the bridge, and puts it into
    /// the bridge.
    pub async fn renew(&mut self, host: SocketAddr, format: &str) -> Result<SocketAddr, Error> {
        let parts = self.parts()?;
        let former = Asked::Media(parts.names.media.clone());
        parts.names.next_media();
        let id = parts.names.media.clone();
        let watch = parts.control.hub.watch(&id, Role::Own);
        let watch = watch.ok_or_else(|| Error::NotFound("the external media has a name that is taken".into()))?;
        parts.asked.push(Asked::Media(id.clone()));
        let control = &parts.control;
        let (removed, peer) =
            tokio::join!(former.remove(&control.rest), control.rest.external_media(&id, host, format));
        parts.media = watch;
        match removed {
            Ok(()) => parts.asked.retain(|asked| *asked != former),
            Err(error) => tracing::debug!(%error, "a broken external media channel is removed later"),
        }
        // The bridge may be what has gone; then this fails, and the call ends.
        let peer = peer?;
        control.hub.made(&id);
        let _ = timeout(ENTRY, parts.media.entered()).await;
        // The caller too, once more: its phone is told by a new SSRC that the time of what it hears begins anew. Else a
        // phone that goes by timestamps plays nothing any more.
        enter(&control.rest, &parts.names.bridge, &[&id, &parts.caller.id()]).await?;
        control.hub.inside(&parts.names.bridge, &[&id]);
        Ok(peer)
    }

    /// Waits for what happens next. A caller who was taken out of the bridge, and nothing else, is put back.
    pub async fn next(&mut self) -> Happening {
        let Ok(parts) = self.parts() else { return Happening::Broken };
        let Parts { control, names, caller, bridge, media, .. } = parts;
        loop {
            let outside = tokio::select! {
                biased;
                next = caller.next() => return match next {
                    Ok(digit) => Happening::Digit(digit),
                    Err(gone) => Happening::Caller(gone),
                },
                _ = media.gone() => false,
                _ = bridge.gone() => true,
            };
            if !outside || media.ended().is_some() {
                return Happening::Broken;
            }
            if let Ok(gone) = timeout(GRACE, caller.gone()).await {
                return Happening::Caller(gone);
            }
            control.hub.rearm(&names.bridge);
            if put_back(&control.rest, &names.bridge, &caller.id()).await.is_err() {
                return Happening::Broken;
            }
        }
    }

    /// Whether the caller has hung up; with `wait` also if that is told a moment later.
    pub async fn hung_up(&mut self, wait: bool) -> bool {
        let Ok(parts) = self.parts() else { return true };
        if wait {
            return timeout(GRACE, parts.caller.gone()).await.is_ok();
        }
        parts.caller.ended().is_some()
    }

    /// Keys to be pressed towards the phone, and how; once.
    pub fn presser(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let presses = self.presses.take();
        let control = self.parts.as_ref().map(|parts| (Arc::clone(&parts.control), parts.caller.ids()));
        async move {
            let (Some(mut presses), Some((control, id))) = (presses, control) else {
                return std::future::pending().await;
            };
            while let Some(digit) = presses.recv().await {
                let id = id.now();
                if let Err(error) = control.rest.send_dtmf(&id, digit).await {
                    tracing::warn!(channel = %id, %error, "a key was not sent to the phone");
                }
            }
            std::future::pending().await
        }
    }

    /// Removes everything; with `hang_up` the caller as well, if it is still here. It goes on in its own tracked task
    /// if nobody waits for it.
    pub fn take_down(mut self, hang_up: Option<Reason>) -> JoinHandle<()> {
        let parts = self.parts.take();
        let tracker = parts.as_ref().map(|parts| parts.control.tasks.clone()).unwrap_or_default();
        tracker.spawn(async move {
            if let Some(parts) = parts {
                parts.remove(hang_up).await;
            }
        })
    }
}

impl Drop for Wiring {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take()
            && Handle::try_current().is_ok()
        {
            tracing::error!(channel = %parts.caller.id(), "a call was given up");
            let tracker = parts.control.tasks.clone();
            tracker.spawn(parts.remove(Some(Reason::Congestion)));
        }
    }
}

impl Parts {
    async fn remove(self, hang_up: Option<Reason>) {
        let (rest, hub) = (&self.control.rest, Arc::clone(&self.control.hub));
        let ended = self.caller.ended();
        let hang_up = hang_up.filter(|_| ended.is_none());
        // A caller who is neither gone nor hung up is to be served again.
        let mut again = hang_up.is_none() && matches!(ended, None | Some(Gone::TakenOver));
        let caller = async {
            let Some(reason) = hang_up else { return Ok(()) };
            let id = self.caller.id();
            let done = twice(|| rest.hang_up(&id, reason)).await;
            if done.is_err() {
                hub.doom(&id);
            }
            done
        };
        let own = futures_util::future::join_all(self.asked.iter().map(|asked| twice(|| asked.remove(rest))));
        let (caller, own) = tokio::join!(caller, own);
        if let Some(error) = own.into_iter().chain([caller]).find_map(Result::err) {
            tracing::warn!(channel = %self.caller.id(), %error, "a call is not wholly removed from Asterisk yet");
            again = true;
        }
        // The sweep leaves alone what is watched.
        drop(self);
        if again {
            hub.want_sweep();
        }
    }
}

/// Once more if Asterisk could not be asked.
async fn twice<F: Future<Output = Result<(), Error>>>(what: impl Fn() -> F) -> Result<(), Error> {
    match what().await {
        Err(Error::Timeout(_) | Error::Unreachable(_)) => {
            sleep(RETRY).await;
            what().await
        }
        result => result,
    }
}

/// Asterisk takes a channel out of the bridge where it is before it puts it in, and tells that as a leaving as well.
async fn put_back(rest: &Rest, bridge: &str, channel: &str) -> Result<(), Error> {
    if rest.in_bridge(bridge).await?.iter().any(|id| id == channel) {
        return Ok(());
    }
    enter(rest, bridge, &[channel]).await
}

async fn enter(rest: &Rest, bridge: &str, channels: &[&str]) -> Result<(), Error> {
    for _ in 1..ENTRY_TRIES {
        match rest.add_channels(bridge, channels).await {
            Err(Error::Refused { status: 409 | 422, .. }) => sleep(ENTRY_PAUSE).await,
            result => return result,
        }
    }
    rest.add_channels(bridge, channels).await
}
