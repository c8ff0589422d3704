//! Synthesis over HTTP: ElevenLabs with a request for each text, Aura with one for each clause.

use tokio::time::{Instant, timeout_at};

use super::Odd;
use super::accounts::Pick;
use super::counters::count;
use super::http::{Stream, is_broken, stream, too_long};
use super::transport::Refusal;
use super::tts::{Failure, NO_AUDIO, NO_PLACE, Tts};
use super::tts_queue::Job;
use crate::config::TtsProvider;
use crate::provider::alignment::Tracker;
use crate::provider::elevenlabs::PcmJoiner;
use crate::provider::elevenlabs_http::{self, Line, Lines};
use crate::provider::error::header;
use crate::provider::text::{clauses, says_something};
use crate::provider::{ErrorClass, SpeechChunk, StageError, aura};

/// What a request is made of.
struct Request {
    url: url::Url,
    headers: http::HeaderMap,
    body: Vec<u8>,
    on_error: Refusal,
}

impl Tts {
    /// Has a text spoken; gives what [`Tts::ended`] is to be told.
    pub(super) async fn request(&self, job: Job, pick: Pick<TtsProvider>) -> (Job, usize, Result<(), Failure>) {
        let mut given = false;
        let result = match pick.provider {
            TtsProvider::Aura => self.speak_clauses(&job, &pick, &mut given).await,
            TtsProvider::Elevenlabs | TtsProvider::ElevenlabsHttp => self.speak_text(&job, &pick, &mut given).await,
        };
        let result = result.map_err(|error| Failure { dropped: false, given, error });
        (job, pick.index, result)
    }

    /// ElevenLabs: the text as a whole, its audio as it comes.
    async fn speak_text(&self, job: &Job, pick: &Pick<TtsProvider>, given: &mut bool) -> Result<(), StageError> {
        let _place = self.place(&self.places, self.config.elevenlabs.max_streams, pick.index).await?;
        let request = Request {
            url: elevenlabs_http::stream_url(&self.config, self.rate)?,
            headers: elevenlabs_http::headers(&self.config)?,
            body: elevenlabs_http::body(&self.config, self.target, &job.text)?,
            on_error: elevenlabs_http::http_error,
        };
        self.driver.meter.tts(&job.text);
        let mut reply = self.send(request).await?;
        let id = header(reply.headers(), "request-id").map(str::to_owned);
        let told = self.stream_text(job, pick.index, &mut reply, given).await;
        told.map_err(|error| match error.request_id {
            Some(_) => error,
            None => error.with_request_id(id.as_deref()),
        })
    }

    /// Delivers what comes of a text.
    async fn stream_text(
        &self,
        job: &Job,
        index: usize,
        reply: &mut Stream,
        given: &mut bool,
    ) -> Result<(), StageError> {
        let (mut lines, mut joiner) = (Lines::default(), PcmJoiner::default());
        let mut tracker = Tracker::new(&job.text, self.rate);
        loop {
            let piece = reply.next().await?;
            let over = piece.is_none();
            let complete = match piece {
                Some(piece) => lines.push(&piece)?,
                None => lines.finish().into_iter().collect(),
            };
            for line in complete {
                match elevenlabs_http::parse_line(&line) {
                    Line::Speech { audio, aligned } => {
                        let clean = !tracker.is_contradicted();
                        let chunks = tracker.push(joiner.push(&audio), aligned);
                        if clean && tracker.is_contradicted() {
                            count(&self.driver.counters.tts_bad_alignments);
                        }
                        for chunk in chunks {
                            *given |= matches!(chunk, SpeechChunk::Audio(_));
                            if !self.deliver(job, chunk).await {
                                return Ok(());
                            }
                        }
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
                return if *given { Ok(()) } else { Err(no_sound()) };
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
            url: aura::speak_url(&self.config, self.target, self.rate)?,
            headers: aura::headers(&self.config)?,
            body: aura::body(text),
            on_error: aura::http_error,
        };
        self.driver.meter.tts(text);
        let mut reply = self.send(request).await?;
        aura::check_reply(reply.headers())?;
        let id = aura::request_id(reply.headers()).map(str::to_owned);
        let mut body = Vec::new();
        let read = async {
            while let Some(piece) = reply.next().await? {
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

    /// A place for a request. Where there is none, the next provider is asked, if there is one.
    async fn place(
        &self,
        account: &std::sync::Arc<super::accounts::Account>,
        most: Option<usize>,
        index: usize,
    ) -> Result<super::accounts::Place, StageError> {
        if let Some(place) = account.try_place(most) {
            return Ok(place);
        }
        let none = || StageError::new(ErrorClass::RetryLater(None), NO_PLACE, "The account's requests are all in use.");
        if index + 1 < self.roster.providers().len() {
            return Err(none());
        }
        timeout_at(Instant::now() + NO_AUDIO, account.place(most)).await.map_err(|_| none())
    }

    /// Sends a request, over a new connection if a kept one turns out to be dead.
    async fn send(&self, request: Request) -> Result<Stream, StageError> {
        let dialer = self.driver.dialer().await?;
        let due = Instant::now() + NO_AUDIO;
        let by = |client: &reqwest::Client| {
            let Request { url, headers, body, .. } = &request;
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
    StageError::new(ErrorClass::RetryNow, "no_audio", "The synthesiser gave no sound.")
}
