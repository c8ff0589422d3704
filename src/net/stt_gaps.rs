//! What goes on beside a recogniser's live stream: gaps that are recognised again, and a connection in reserve.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::accounts::Pick;
use super::counters::count;
use super::runtime::lock;
use super::stt::{Refused, Role, Stt};
use super::stt_queue::{Broken, SttQueue};
use super::stt_stream::{Connection, End};
use super::transport::Backoff;
use crate::config::SttProvider;
use crate::provider::SttEvent;

/// A gap has the time that it takes to send it, and so much more; later words wait no longer for it.
const REPLAY_GRACE: Duration = Duration::from_secs(8);
/// Gaps that may wait; the oldest is given up first. A connection that is lost more often is of no use.
const MOST_GAPS: usize = 8;
/// How often a gap looks for a place.
const PLACE_EVERY: Duration = Duration::from_millis(50);
/// How often a waiting connection is looked after, and whether a preferred provider is back.
const SPARE_EVERY: Duration = Duration::from_millis(500);

/// What is recognised again.
pub(super) struct Gap {
    queue: Arc<SttQueue>,
    start: Duration,
    end: Duration,
    /// Then what is unknown of it is lost.
    deadline: Instant,
}

impl Stt {
    /// Makes the gap of a connection that was lost, if anything was said in it.
    pub(super) async fn open_gap(&self) {
        let (queue, start, end) = match self.queue.gap() {
            None => return,
            Some(Broken::New(queue, start, end)) => (queue, start, end),
            Some(Broken::Longer(queue)) => return self.lengthen_gap(&queue).await,
        };
        count(&self.driver.counters.replays);
        self.event(SttEvent::Replaying { start, end }).await;
        let given_up = {
            let mut gaps = lock(&self.gaps);
            let deadline = Instant::now() + (end - start) + REPLAY_GRACE;
            gaps.push_back(Gap { queue, start, end, deadline });
            if gaps.len() > MOST_GAPS { gaps.remove(1) } else { None }
        };
        if let Some(gap) = given_up {
            self.close_gap(gap).await;
        }
        self.changed.notify_one();
    }

    /// A gap that was still open takes in what another lost connection was sent; it gets the time for that.
    async fn lengthen_gap(&self, queue: &Arc<SttQueue>) {
        let span = {
            let mut gaps = lock(&self.gaps);
            let Some(gap) = gaps.iter_mut().find(|gap| Arc::ptr_eq(&gap.queue, queue)) else { return };
            gap.end = queue.end().unwrap_or(gap.end).max(gap.end);
            gap.deadline = Instant::now() + (gap.end - gap.start) + REPLAY_GRACE;
            (gap.start, gap.end)
        };
        self.event(SttEvent::Replaying { start: span.0, end: span.1 }).await;
    }

    /// Until the time of the gap that is being recognised again is over.
    async fn expiry(&self) {
        loop {
            let deadline = lock(&self.gaps).front().map(|gap| gap.deadline);
            match deadline {
                Some(deadline) if deadline > Instant::now() => tokio::time::sleep_until(deadline).await,
                _ => return,
            }
        }
    }

    /// Recognises the gaps again, one after the other, until the live stream is over and none is left.
    pub(super) async fn replay(&self) {
        loop {
            let over = self.over.load(Ordering::Acquire);
            let gap = lock(&self.gaps).front().map(|gap| Gap { queue: Arc::clone(&gap.queue), ..*gap });
            match gap {
                Some(gap) => {
                    self.replay_gap(&gap).await;
                    // Only now, so that a panic finds it again.
                    let gap = lock(&self.gaps).pop_front();
                    if let Some(gap) = gap {
                        self.close_gap(gap).await;
                    }
                }
                None if over => return,
                None => tokio::select! {
                    () = self.changed.notified() => {}
                    () = self.ended.notified() => {}
                },
            }
        }
    }

    async fn replay_gap(&self, gap: &Gap) {
        let mut backoff = Backoff::new(self.driver.session.0 ^ 0x7265_706c);
        let mut next = None;
        // After a panic it may have been sent in part.
        gap.queue.rewind();
        let work = async {
            loop {
                let (from, error) = match self.connect_replay(next.take()).await {
                    Ok(mut connection) => match connection.carry(self, &gap.queue, Role::Replay(gap.start)).await {
                        End::Done | End::Switch => return,
                        End::Lost(error) => {
                            count(&self.driver.counters.drops);
                            gap.queue.rewind();
                            (self.lived(&connection, &error, &mut backoff), error)
                        }
                    },
                    Err(Refused::By(index, _, error)) => (index + 1, error),
                    Err(Refused::ByAll(_, pause)) => {
                        sleep(pause).await;
                        continue;
                    }
                };
                let (pick, pause) = self.after(from, &error, &mut backoff);
                next = pick;
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = self.expiry() => {}
        }
    }

    /// A connection for a gap. The live stream goes first: as long as it has none, or the account no place, the gap
    /// waits (and its time runs).
    async fn connect_replay(&self, pick: Option<Pick<SttProvider>>) -> Result<Connection, Refused> {
        let place = loop {
            // Not a place to give back at once: that would wake all who wait for one.
            let live = lock(&self.serving).is_some() || self.over.load(Ordering::Acquire);
            if live && let Some(place) = self.places.try_place(self.config.deepgram.max_streams) {
                break place;
            }
            sleep(PLACE_EVERY).await;
        };
        let pick = self.choose(pick)?;
        self.connect(&pick, place).await.map_err(|error| Refused::By(pick.index, pick.provider, error))
    }

    /// Tells of what stays unknown of a gap, and that nothing more comes of it.
    async fn close_gap(&self, gap: Gap) {
        let end = gap.queue.end().unwrap_or(gap.end).max(gap.end);
        gap.queue.give_up_all();
        self.report_lost(&gap.queue).await;
        self.event(SttEvent::Replayed { start: gap.start, end }).await;
    }

    /// Keeps a second connection ready where that is wanted, and makes one with a preferred provider that is back.
    pub(super) async fn keep_spare(&self) {
        loop {
            tokio::select! {
                () = self.ended.notified() => {}
                () = sleep(SPARE_EVERY) => {}
            }
            if self.over.load(Ordering::Acquire) {
                *lock(&self.spare) = None;
                return;
            }
            let Some(serving) = *lock(&self.serving) else { continue };
            let mut kept = None;
            // Not held while its connection is looked after.
            let spare = lock(&self.spare).take();
            if let Some(mut connection) = spare
                && connection.idle(self).await.is_ok()
            {
                kept = Some(connection.index);
                lock(&self.spare).get_or_insert(connection);
            }
            // A preferred provider first; else, where that is wanted, a second connection with the one that serves.
            let mut wanted: Vec<usize> = (0..serving.min(kept.unwrap_or(serving))).collect();
            if self.config.stt_standby && kept.is_none() {
                wanted.push(serving);
            }
            if wanted.is_empty() {
                continue;
            }
            let Some(place) = self.places.try_place(self.config.deepgram.max_streams) else { continue };
            let Some(pick) = wanted.into_iter().find_map(|index| self.roster.ask(index).ok()) else { continue };
            tokio::select! {
                connected = self.connect(&pick, place) => {
                    if let Ok(connection) = connected {
                        *lock(&self.spare) = Some(connection);
                    }
                }
                () = self.ended.notified() => {}
            }
        }
    }

    /// Whether a connection with a preferred provider waits.
    pub(super) fn spare_is_better_than(&self, index: usize) -> bool {
        lock(&self.spare).as_ref().is_some_and(|spare| spare.index < index)
    }
}
