//! Where in its audio each character of a text is spoken.

/// A character and its time in seconds since the audio began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Char {
    /// The character.
    pub c: char,
    /// Its beginning.
    pub start: f64,
    /// Its end.
    pub end: f64,
}

/// Spreads the characters of each word over the time of that word; what is between words belongs to the pause after it.
/// `times` has one entry per word that is spoken, `is_spoken` says which are. `end` is the end of the audio.
pub fn spread(text: &str, times: &[(f64, f64)], is_spoken: impl Fn(&str) -> bool, end: f64) -> Vec<Char> {
    let mut out = Vec::with_capacity(text.len());
    let mut times = times.iter().copied().peekable();
    let mut now = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        let gap = after.find(|c: char| !c.is_whitespace()).unwrap_or(after.len());
        let (space, after) = after.split_at(gap);
        if !word.is_empty()
            && is_spoken(word)
            && let Some((from, to)) = times.next()
        {
            even(word, from, to, &mut out);
            now = to;
        } else {
            even(word, now, now, &mut out);
        }
        // Before the first word there is no pause to belong to.
        let spoken = out.iter().any(|c| c.end > c.start);
        let next = times.peek().map_or(end, |(from, _)| *from).max(now);
        let until = if spoken { next } else { now };
        even(space, now, until, &mut out);
        now = until;
        rest = after;
    }
    out
}

fn even(text: &str, from: f64, to: f64, out: &mut Vec<Char>) {
    let each = (to - from) / text.chars().count().max(1) as f64;
    for (i, c) in text.chars().enumerate() {
        let start = from + each * i as f64;
        out.push(Char { c, start, end: start + each });
    }
}

/// Mean square of about -50 dBFS: what is below is a pause.
const PAUSE_POWER: f64 = 104.0 * 104.0;
/// A pause is at least so many frames of 10 ms.
const PAUSE_FRAMES: usize = 3;

/// For real speech, of which nobody knows where its words are: the words share the time that is not pause, each by its
/// length in characters. Good to a syllable or two, no better.
pub fn guess(text: &str, pcm: &[i16], rate: u32) -> Vec<Char> {
    let frame = (rate as usize / 100).max(1);
    let power = |f: &[i16]| f.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / f.len().max(1) as f64;
    let mut loud: Vec<bool> = pcm.chunks(frame).map(|f| power(f) > PAUSE_POWER).collect();
    // Gaps too short for a pause are inside words.
    let mut last = None;
    for i in 0..loud.len() {
        if loud[i] {
            if let Some(last) = last.filter(|last| i - last <= PAUSE_FRAMES) {
                loud[last..i].fill(true);
            }
            last = Some(i);
        }
    }
    let total = loud.iter().filter(|l| **l).count() as f64;
    let letters = text.chars().filter(|c| !c.is_whitespace()).count().max(1) as f64;
    // Seconds of audio at which a share of the speech has been heard.
    let at = |share: f64| {
        let wanted = share * total;
        let mut heard = 0.0;
        for (i, _) in loud.iter().enumerate().filter(|(_, l)| **l) {
            if heard + 1.0 >= wanted {
                return (i as f64 + wanted - heard) * frame as f64 / f64::from(rate);
            }
            heard += 1.0;
        }
        pcm.len() as f64 / f64::from(rate)
    };
    let mut done = 0.0;
    let times: Vec<(f64, f64)> = text
        .split_whitespace()
        .map(|word| {
            let from = at(done / letters);
            done += word.chars().count() as f64;
            (from, at(done / letters))
        })
        .collect();
    spread(text, &times, |_| true, pcm.len() as f64 / f64::from(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(chars: &[Char]) -> Vec<(char, u64, u64)> {
        let round = |s: f64| (s * 1000.0).round() as u64;
        chars.iter().map(|c| (c.c, round(c.start), round(c.end))).collect()
    }

    #[test]
    fn words_have_their_times_and_spaces_the_pauses() {
        let chars = spread(" ab - cd ", &[(0.0, 0.14), (0.18, 0.32)], |w| w != "-", 0.36);
        assert_eq!(
            ms(&chars),
            [
                (' ', 0, 0),
                ('a', 0, 70),
                ('b', 70, 140),
                (' ', 140, 180),
                ('-', 180, 180),
                (' ', 180, 180),
                ('c', 180, 250),
                ('d', 250, 320),
                (' ', 320, 360)
            ]
        );
    }

    #[test]
    fn real_speech_is_shared_out_between_its_pauses() {
        // 100 ms of pause, 200 of speech, 100 of pause, 200 of speech.
        let rate = 8000;
        let mut pcm = vec![0; 800];
        pcm.extend((0..1600).map(|i| if i % 2 == 0 { 3000 } else { -3000 }));
        pcm.extend(vec![0; 800]);
        pcm.extend((0..1600).map(|i| if i % 2 == 0 { 3000 } else { -3000 }));
        let chars = guess("abcd efgh", &pcm, rate);
        let times = ms(&chars);
        assert_eq!((times[0], times[3].2), (('a', 100, 150), 300));
        assert!((300..=410).contains(&times[5].1) && times[8].2 == 600, "{times:?}");
        assert!(chars.windows(2).all(|w| w[0].start <= w[1].start));
    }
}
