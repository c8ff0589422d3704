//! What a room is told of the providers that speak: who serves now, and why the one before does not.

use std::time::Duration;

use super::Odd;
use super::accounts::Nobody;
use super::tts::{LOOK_AGAIN, Tts};
use super::tts_lane::LaneState;
use crate::config::TtsProvider;
use crate::provider::{LinkState, Stage, StageError};

impl Tts {
    /// Who would speak a text now, as far as is known.
    fn standing(&self) -> Option<usize> {
        if self.driver.meter.check(Stage::Tts).is_err() {
            return None;
        }
        let lane = self.lane.state();
        // A host that the websocket does not trust is the same over HTTP.
        let untrusted = matches!(&lane, LaneState::Down(error, _) if error.code == "tls");
        let ready = |index: usize, provider: TtsProvider| match provider {
            TtsProvider::ElevenlabsHttp if untrusted => false,
            _ => self.lane.index != Some(index) || matches!(lane, LaneState::Ready),
        };
        let mut all = self.roster.providers().enumerate();
        all.find(|(index, provider)| self.roster.works(*index) && ready(*index, *provider)).map(|(index, _)| index)
    }

    /// Tells the room who serves now, if that has changed; `error` is why the one before does not.
    pub(super) async fn stand(&self, error: Option<&StageError>) {
        let mut told = self.told.lock().await;
        let (before, now) = (*told, self.standing());
        let broke = self.driver.meter.check(Stage::Tts).err();
        let error = broke.as_ref().or(error);
        // Whoever comes next is not told of while the one before may be back in a moment.
        let lane = self.lane.index.filter(|_| before.is_none() && broke.is_none() && self.lane.is_promising());
        if lane.is_some_and(|lane| now.is_none_or(|now| now > lane)) {
            return;
        }
        *told = now;
        match now {
            Some(index) if before != now => {
                let failed = before.or((index > 0).then_some(0));
                if let (Some(before), Some(error)) = (failed, error) {
                    let down = LinkState::Down { error: error.clone(), retry_in: Some(Duration::ZERO) };
                    self.link(before, down).await;
                }
                self.link(index, LinkState::Ready).await;
            }
            Some(_) => {}
            None => {
                // Why the preferred one does not serve matters most to a person.
                let preferred = self.roster.refusal(0).filter(|_| broke.is_none());
                let (who, error, retry_in) = match (preferred, error) {
                    (Some(Nobody { error, retry_in }), _) => (0, error, Some(retry_in.max(LOOK_AGAIN))),
                    (None, Some(error)) => (before.unwrap_or(0), error.clone(), broke.is_none().then_some(LOOK_AGAIN)),
                    (None, None) => return,
                };
                self.link(who, LinkState::Down { error, retry_in }).await;
            }
        }
    }

    /// The connection that served was lost and is made again at once.
    pub(super) async fn dropped(&self, index: usize, error: &StageError) {
        let mut told = self.told.lock().await;
        if *told == Some(index) {
            *told = None;
            self.link(index, LinkState::Down { error: error.clone(), retry_in: Some(Duration::ZERO) }).await;
        }
    }

    /// A message of the `index`th that is not understood and ignored; the vendor gives its websockets no request id.
    pub(super) async fn odd(&self, index: usize, odd: Odd) {
        let name = self.roster.providers().nth(index).map_or("tts", TtsProvider::as_str);
        self.driver.odd(Stage::Tts, name, odd, None).await;
    }

    pub(super) async fn link(&self, index: usize, state: LinkState) {
        let name = self.roster.providers().nth(index).map_or("tts", TtsProvider::as_str);
        self.driver.link(Stage::Tts, name, state).await;
    }
}
