//! Keeps the events websocket connected: notices when Asterisk is silent, and comes back when it can.

use std::future::Future;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::event::{self, Event};
use super::rest::{Error, Events};
use super::{Control, Link};

/// The times of a connection; tests have shorter ones.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub ping: Duration,
    /// Without anything from Asterisk, pongs included, for so long, it hangs.
    pub silence: Duration,
    pub backoff_first: Duration,
    pub backoff_most: Duration,
    /// A connection that lived so long makes the next pause a first one again.
    pub steady: Duration,
    /// When ARI is out of reach for so long, callers from whom nothing came for as long are given up; those who are still
    /// there when it is back are taken anew.
    pub give_up: Duration,
    /// How often Asterisk is asked for an event, which must come. When a connection ends while the next one is being made,
    /// its end may take the application from that one (seen with Asterisk 22): pings are answered, and no call comes any more.
    pub prove: Duration,
    /// A sweep that somebody asked for comes so much later, so that one serves many.
    pub sweep_after: Duration,
    /// How often we look whether the client that took our application over has gone.
    pub replaced: Duration,
    /// It may have died and left callers behind, for whom Asterisk keeps the application: after so long we take that back.
    /// Each time that this was wrong the next truce is twice as long, up to the second of these.
    pub truce: [Duration; 2],
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            ping: Duration::from_secs(2),
            silence: Duration::from_secs(6),
            backoff_first: Duration::from_millis(100),
            backoff_most: Duration::from_secs(5),
            steady: Duration::from_secs(3),
            give_up: Duration::from_secs(60),
            prove: Duration::from_secs(10),
            sweep_after: Duration::from_secs(1),
            replaced: Duration::from_secs(5),
            truce: [Duration::from_secs(30), Duration::from_secs(300)],
        }
    }
}

/// The event that Asterisk is asked for.
const PROOF: &str = "mgw-proof";

/// What is done with the connection.
pub trait Handler {
    /// Must not wait.
    fn event(&self, event: Event);
    /// Brings our calls and Asterisk's objects together.
    fn sweep(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Quit,
    Replaced,
    Failed(String),
}

/// Connects and serves until `quit`.
pub async fn keep(control: &Control, pace: &Pace, handler: &impl Handler, quit: &CancellationToken) {
    let mut pauses = Pauses::new(pace);
    let mut lost = Instant::now();
    let [first_truce, longest_truce] = pace.truce;
    let mut truce = first_truce;
    loop {
        let opened = tokio::select! {
            opened = control.rest.events() => opened,
            () = quit.cancelled() => return,
        };
        let end = match opened {
            Ok(ws) => {
                control.status.set(Link::Connected);
                control.hub.out_of_reach(None);
                tracing::info!(app = %control.app, "connected to Asterisk");
                let since = Instant::now();
                let end = serve(ws, control, pace, handler, quit).await;
                lost = Instant::now();
                // Longer than another of us that lives would have kept quiet.
                if since.elapsed() > longest_truce * 2 {
                    truce = first_truce;
                }
                if since.elapsed() >= pace.steady {
                    pauses.reset();
                }
                end
            }
            Err(error) => End::Failed(error.to_string()),
        };
        match end {
            End::Quit => return,
            End::Replaced => {
                tracing::error!(
                    app = %control.app,
                    "another client has taken the Stasis application over, perhaps a second shim: give one of them \
                     another shim.ari.app; this one waits until the other is gone, and tries again in {} s at the latest",
                    truce.as_secs()
                );
                control.status.set(Link::Replaced);
                control.hub.taken_over();
                tokio::select! {
                    free = timeout(truce, wait_until_free(control, pace)) => if free.is_err() {
                        tracing::warn!(
                            app = %control.app,
                            "the Stasis application is taken back: the other client may have died and left callers in it"
                        );
                        truce = (truce * 2).min(longest_truce);
                    },
                    () = quit.cancelled() => return,
                }
                continue;
            }
            End::Failed(why) => {
                // Once for each reason, not once for each attempt.
                if control.status.set(Link::Down(why.clone())) {
                    tracing::warn!(%why, "not connected to Asterisk");
                }
                if lost.elapsed() > pace.give_up {
                    control.hub.out_of_reach(Some(pace.give_up));
                }
            }
        }
        tokio::select! {
            () = sleep(pauses.next()) => {}
            () = quit.cancelled() => return,
        }
    }
}

async fn wait_until_free(control: &Control, pace: &Pace) {
    loop {
        sleep(pace.replaced).await;
        if control.rest.app_exists(&control.app).await == Ok(false) {
            return;
        }
    }
}

async fn serve(
    mut ws: Events,
    control: &Control,
    pace: &Pace,
    handler: &impl Handler,
    quit: &CancellationToken,
) -> End {
    let mut ping = interval(pace.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    // The first one soon: what ends with the last connection ends at once.
    let mut prove = interval_at(heard + pace.prove / 10, pace.prove);
    prove.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Since when the event is due; and whether Asterisk's answer is. The event may come before the answer.
    let mut due: Option<Instant> = None;
    let (mut asking, mut came, mut refused) = (false, false, false);
    let mut proof = Box::pin(control.rest.user_event(PROOF));
    let sweep = |delay| async move {
        sleep(delay).await;
        handler.sweep().await
    };
    let mut sweeping = true;
    let mut running = Box::pin(sweep(Duration::ZERO));
    loop {
        tokio::select! {
            message = ws.next() => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => match event::parse(&text) {
                        Ok(Event::Replaced { application }) if application == control.app => {
                            // Said in peace, so that Asterisk's side of this connection goes as well.
                            close(&mut ws, pace).await;
                            return End::Replaced;
                        }
                        Ok(Event::User(name)) if name == PROOF => (due, came) = (None, true),
                        Ok(event) => handler.event(event),
                        Err(why) => tracing::warn!(%why, "an event of Asterisk cannot be read"),
                    },
                    Some(Ok(Message::Close(_))) | None => return End::Failed("Asterisk has closed the connection".into()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return End::Failed(format!("the connection to Asterisk failed: {error}")),
                }
            }
            _ = ping.tick() => {
                let silent = heard.elapsed();
                if silent > pace.silence {
                    return End::Failed(format!("Asterisk has not answered for {} s", silent.as_secs()));
                }
                if due.is_some_and(|since| since.elapsed() > pace.silence) {
                    // In peace, so that this end is over before the next connection is made.
                    close(&mut ws, pace).await;
                    return End::Failed("Asterisk sends no events, though it is connected".into());
                }
                match timeout(pace.silence, ws.send(Message::Ping(Default::default()))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return End::Failed(format!("the connection to Asterisk failed: {error}")),
                    Err(_) => return End::Failed("Asterisk takes nothing from the connection".into()),
                }
            }
            _ = prove.tick(), if due.is_none() && !asking => {
                (asking, came) = (true, false);
                proof = Box::pin(control.rest.user_event(PROOF));
            }
            outcome = &mut proof, if asking => {
                asking = false;
                match outcome {
                    Ok(()) if came => {}
                    Ok(()) => due = Some(Instant::now()),
                    Err(Error::NotFound(_)) => {
                        close(&mut ws, pace).await;
                        return End::Failed("Asterisk does not know our Stasis application any more".into());
                    }
                    // Nothing is known then; the next attempt may tell.
                    Err(error) if !refused => {
                        refused = true;
                        tracing::warn!(%error, "Asterisk cannot be asked whether our events come");
                    }
                    Err(_) => {}
                }
            }
            swept = &mut running, if sweeping => {
                sweeping = false;
                if let Err(error) = swept {
                    return End::Failed(error.to_string());
                }
            }
            () = control.hub.sweep_wanted(), if !sweeping => {
                sweeping = true;
                running = Box::pin(sweep(pace.sweep_after));
            }
            () = quit.cancelled() => {
                close(&mut ws, pace).await;
                return End::Quit;
            }
        }
    }
}

/// Closes a connection and waits until Asterisk has, too, but not for one that hangs.
async fn close(ws: &mut Events, pace: &Pace) {
    let both = async {
        let _ = ws.close(None).await;
        while ws.next().await.is_some_and(|message| message.is_ok()) {}
    };
    let _ = timeout(pace.ping, both).await;
}

/// The pauses between attempts: each twice as long as the one before, and by chance up to a quarter shorter, so that
/// many clients of one Asterisk do not come all at once.
struct Pauses {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Pauses {
    fn new(pace: &Pace) -> Pauses {
        Pauses { first: pace.backoff_first, most: pace.backoff_most, next: pace.backoff_first }
    }

    fn reset(&mut self) {
        self.next = self.first;
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        pause.mul_f64(rand::random_range(0.75..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_begin_anew() {
        let mut pauses = Pauses::new(&Pace::default());
        for wanted in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let pause = pauses.next().as_millis();
            assert!((wanted * 3 / 4..=wanted).contains(&pause), "{pause} ms where {wanted} were due");
        }
        pauses.reset();
        assert!(pauses.next().as_millis() <= 100);
    }
}
