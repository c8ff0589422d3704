//! Synthesis over HTTP: ElevenLabs with a request for each text, Aura with one for each clause.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Odd;
use super::accounts::{Account, Pick, Place};
use super::counters::count;
use super::http::{Stream, is_broken, late, stream, too_long};
use super::transport::Refusal;
use super::tts::{Failure, NO_AUDIO, NO_PLACE, SILENT, Tts, cut_short};
use super::tts_lane::Claim;
use super::tts_queue::Job;
use crate::config::TtsProvider;
use crate::provider::alignment::Tracker;
use crate::provider::elevenlabs::PcmJoiner;
use crate::provider::elevenlabs_http::{self, Line, Lines};
use crate::provider::error::header;
use crate::provider::stream_clock::samples_to_time;
use crate::provider::text::{clauses, says_something};
use crate::provider::{ErrorClass, SpeechChunk, StageError, aura};

/// How many characters a slow voice speaks in a second: what a clause's audio may take to come follows from it.
const CHARS_PER_S: u64 = 12;

/// Audio must come at half of real time on average at least, the first of it within [`NO_AUDIO`], which is also how
/// much later than that the rest may be. So no reply that drips holds a place for ever.
struct Pace {
    /// When it was asked for, then when its first audio came; moved on while it was us who kept it waiting.
    since: Instant,
    rate: u32,
    samples: u64,
}

impl Pace {
    /// More audio must be there by then.
    fn due(&self) -> Instant {
        self.since + NO_AUDIO + samples_to_time(self.samples, self.rate) * 2
    }

    fn came(&mut self, samples: usize) {
        if self.samples == 0 && samples > 0 {
            self.since = Instant::now();
        }
        self.samples += samples as u64;
    }
}

/// What a request is made of.
struct Request<'a> {
    /// What is to be spoken, for the meter.
    text: &'a str,
    url: url::Url,
    headers: http::HeaderMap,
    body: Vec<u8>,
    on_error: Refusal,
}

impl Tts {
    /// Has a text spoken; gives what [`Tts::ended`] is to be told.
    pub(super) async fn request(&self, job: Job, pick: Pick<TtsProvider>) -> (Job, usize, Result<bool, Failure>) {
        let mut given = false;
        let speaking = async {
            match pick.provider {
                TtsProvider::Aura => self.speak_clauses(&job, &pick, &mut given).await,
                TtsProvider::Elevenlabs | TtsProvider::ElevenlabsHttp => self.speak_text(&job, &pick, &mut given).await,
            }
        };
        // Leaving the request drops its connection: the vendor stops, and the place is free.
        let result = tokio::select! {
            biased;
            () = self.queue.unwanted(job.ticket) => Ok(()),
            result = speaking => result,
        };
        let result = match result {
            Ok(()) => Ok(given),
            Err(error) => Err(Failure { dropped: false, given, error }),
        };
        (job, pick.index, result)
    }

    /// ElevenLabs: the text as a whole, its audio as it comes.
    async fn speak_text(&self, job: &Job, pick: &Pick<TtsProvider>, given: &mut bool) -> Result<(), StageError> {
        let _place = self.place(&self.places, self.config.elevenlabs.max_streams, pick.index).await?;
        let request = Request {
            text: &job.text,
            url: elevenlabs_http::stream_url(&self.config, self.rate)?,
            headers: elevenlabs_http::headers(&self.config)?,
            body: elevenlabs_http::body(&self.config, self.target, &job.text)?,
            on_error: elevenlabs_http::http_error,
        };
        let begun = Instant::now();
        let mut reply = self.send(request, begun + NO_AUDIO).await?;
        let id = header(reply.headers(), "request-id").map(str::to_owned);
        let told = self.stream_text(job, pick.index, (&mut reply, begun), given).await;
        told.map_err(|error| match error.request_id {
            Some(_) => error,
            None => error.with_request_id(id.as_deref()),
        })
    }

    /// Delivers what comes of a text that was asked for at `begun`.
    async fn stream_text(
        &self,
        job: &Job,
        index: usize,
        (reply, begun): (&mut Stream, Instant),
        given: &mut bool,
    ) -> Result<(), StageError> {
        let (mut lines, mut joiner) = (Lines::default(), PcmJoiner::default());
        let mut tracker = Tracker::new(&job.text, self.rate);
        let mut pace = Pace { since: begun, rate: self.rate, samples: 0 };
        loop {
            let piece = reply.next_by(pace.due()).await?;
            let (over, before) = (piece.is_none(), pace.samples);
            let complete = match piece {
                Some(piece) => lines.push(&piece)?,
                None => lines.finish().into_iter().collect(),
            };
            for line in complete {
                match elevenlabs_http::parse_line(&line) {
                    Line::Speech { audio, aligned } => {
                        let clean = !tracker.is_contradicted();
                        let samples = joiner.push(&audio);
                        pace.came(samples.len());
                        let chunks = tracker.push(samples, aligned);
                        if clean && tracker.is_contradicted() {
                            count(&self.driver.counters.tts_bad_alignments);
                        }
                        let delivering = Instant::now();
                        for chunk in chunks {
                            let audio = matches!(chunk, SpeechChunk::Audio(_));
                            if audio && !*given {
                                self.heard(index);
                            }
                            *given |= audio;
                            if !self.deliver(job, chunk).await {
                                return Ok(());
                            }
                        }
                        pace.since += delivering.elapsed();
                    }
                    Line::Error(error) => return Err(error),
                    Line::Unknown => self.odd(index, Odd::Unknown).await,
                    // What it would have said is missing.
                    Line::Malformed => {
                        count(&self.driver.counters.malformed_messages);
                        return Err(bad_reply());
                    }
                }
            }
            if over {
                return match *given {
                    false => Err(no_sound()),
                    true if tracker.falls_short() => Err(cut_short()),
                    true => Ok(()),
                };
            }
            // Pieces without audio that follow each other at once never let the deadline of the next one pass.
            if pace.samples == before && Instant::now() >= pace.due() {
                return Err(late());
            }
        }
    }

    /// Aura gives no alignment: each clause is asked for by itself and handed on when it is complete, so that none
    /// is heard in part. The next one is asked for while the one before is being heard.
    async fn speak_clauses(&self, job: &Job, pick: &Pick<TtsProvider>, given: &mut bool) -> Result<(), StageError> {
        for clause in clauses(&job.text) {
            let (end, text) = (clause.end, &job.text[clause]);
            if says_something(text) {
                let samples = self.speak_clause(text, pick).await?;
                if !*given {
                    self.heard(pick.index);
                }
                if !*given && !self.deliver(job, SpeechChunk::Reached(0)).await {
                    return Ok(());
                }
                *given = true;
                if !self.deliver(job, SpeechChunk::Audio(samples)).await {
                    return Ok(());
                }
            }
            if *given {
                self.deliver(job, SpeechChunk::Reached(end)).await;
            }
        }
        Ok(())
    }

    async fn speak_clause(&self, text: &str, pick: &Pick<TtsProvider>) -> Result<Vec<i16>, StageError> {
        let _place = self.place(&pick.account, self.config.aura.max_requests, pick.index).await?;
        let request = Request {
            text,
            url: aura::speak_url(&self.config, self.target, self.rate)?,
            headers: aura::headers(&self.config)?,
            body: aura::body(text),
            on_error: aura::http_error,
        };
        let first = Instant::now() + NO_AUDIO;
        let latest = first + 2 * Duration::from_millis(text.chars().count() as u64 * 1000 / CHARS_PER_S);
        let mut reply = self.send(request, first).await?;
        aura::check_reply(reply.headers())?;
        let id = aura::request_id(reply.headers()).map(str::to_owned);
        let mut body = Vec::new();
        let read = async {
            while let Some(piece) = reply.next_by(latest).await? {
                if body.len() + piece.len() > aura::MOST_AUDIO {
                    return Err(too_long());
                }
                body.extend_from_slice(&piece);
            }
            Ok(aura::samples(&body))
        };
        let samples = read.await.and_then(|samples| if samples.is_empty() { Err(no_sound()) } else { Ok(samples) });
        samples.map_err(|error| error.with_request_id(id.as_deref()))
    }

    /// A place for a request. Where there is none, that of the session's own websocket is used if it has nothing to
    /// do; else the next provider is asked, if there is one.
    async fn place(
        &self,
        account: &Arc<Account>,
        most: Option<usize>,
        index: usize,
    ) -> Result<(Place, Option<Claim<'_>>), StageError> {
        if let Some(place) = account.try_place(most) {
            return Ok((place, None));
        }
        let none = || StageError::new(ErrorClass::RetryLater(None), NO_PLACE, "The account's requests are all in use.");
        let last = index + 1 >= self.roster.providers().len();
        let claim = if Arc::ptr_eq(account, &self.places) { self.lane.claim(last) } else { None };
        if claim.is_none() && !last {
            return Err(none());
        }
        let place = async {
            match &claim {
                None => account.place(most).await,
                Some(claim) => tokio::select! {
                    place = account.place(most) => place,
                    place = claim.place() => place,
                },
            }
        };
        let place = timeout_at(Instant::now() + NO_AUDIO, place).await.map_err(|_| none())?;
        Ok((place, claim))
    }

    /// Sends a request, over a new connection if a kept one turns out to be dead. The reply's first byte must be there
    /// at `due`.
    async fn send(&self, request: Request<'_>, due: Instant) -> Result<Stream, StageError> {
        let dialer = self.driver.dialer().await?;
        let by = |client: &reqwest::Client| {
            let Request { text, url, headers, body, .. } = &request;
            // Each time: the first one may have been spoken and paid for, though its connection broke.
            self.driver.meter.tts(text);
            client.post(url.clone()).headers(headers.clone()).body(body.clone())
        };
        match stream(by(&dialer.pooled), due, NO_AUDIO, request.on_error).await {
            Err(error) if is_broken(&error) => stream(by(&dialer.fresh), due, NO_AUDIO, request.on_error).await,
            done => done,
        }
    }
}

fn bad_reply() -> StageError {
    StageError::new(ErrorClass::RetryNow, "bad_reply", "The reply cannot be read.")
}

fn no_sound() -> StageError {
    StageError::new(ErrorClass::RetryNow, SILENT, "The synthesiser gave no sound.")
}
