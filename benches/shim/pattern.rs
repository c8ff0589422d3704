//! Sound that tells where it comes from: blocks of eight mu-law bytes with a running number and the speaker's.
//!
//! mgw decodes mu-law, keeps it in two jitter stages and codes it again; all of that is bit-exact as long as nothing is
//! lost, made up or shortened. So an ear that compares bytes notices every sample that is missing or was not said.
//! Phrases of 1.4 s and pauses of 0.6 s, as in speech: clocks and delays are brought to their places in pauses, so silence
//! between two phrases may be of any length; silence inside a phrase counts.

/// Bytes of a block.
const BLOCK: usize = 8;
/// Blocks of a frame of 20 ms, and its samples.
const BLOCKS: u32 = 20;
const FRAME: u64 = BLOCKS as u64 * BLOCK as u64;
/// Frames of a phrase and its pause, and of the phrase alone.
const PHRASE: u32 = 100;
const LOUD: u32 = 70;
/// Silence, of either sign.
const SILENCE: [u8; 2] = [0xFF, 0x7F];
/// Begins a block and stands nowhere else in it; like all codes here loud, so that nothing of it passes for a pause.
const SYNC: u8 = 0x20;

/// A digit 0..32 as a code: the two loudest chords, positive.
fn code(digit: u32) -> u8 {
    0x80 | (digit & 31) as u8
}

/// Block number `n` (below 2^20) of a speaker (below 1024).
fn block(n: u32, speaker: u32) -> [u8; BLOCK] {
    let digits = [n >> 15, n >> 10, n >> 5, n, speaker >> 5, speaker];
    let check = digits.iter().fold(0b10101, |sum: u32, d| sum ^ d);
    let mut bytes = [SYNC; BLOCK];
    for (byte, digit) in bytes[1..].iter_mut().zip(digits.into_iter().chain([check])) {
        *byte = code(digit);
    }
    // The sign changes, so that the sound has no direct current.
    bytes[2] ^= 0x80;
    bytes[4] ^= 0x80;
    bytes[6] ^= 0x80;
    bytes
}

/// Frame number `frame` of a speaker, 160 bytes. Speakers pause at different times; only what is loud is numbered.
pub fn write(frame: u32, speaker: u32, out: &mut [u8]) {
    let frame = frame + 7 * speaker;
    if frame % PHRASE >= LOUD {
        return out.fill(SILENCE[0]);
    }
    let frame = frame / PHRASE * LOUD + frame % PHRASE;
    for (i, bytes) in out.chunks_exact_mut(BLOCK).enumerate() {
        bytes.copy_from_slice(&block(frame * BLOCKS + i as u32, speaker));
    }
}

/// The number of a block, if these bytes are one of this speaker's.
fn number(bytes: &[u8; BLOCK], speaker: u32) -> Option<u32> {
    let n = [1, 2, 3, 4].iter().fold(0, |n, at| n << 5 | u32::from(bytes[*at] & 31));
    (block(n, speaker) == *bytes).then_some(n)
}

/// What one ear heard of one speaker, in samples.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// In order and unchanged.
    pub whole: u64,
    /// Said and not heard, 20 ms or more at once: a frame is missing.
    pub lost: u64,
    /// Said and not heard as it was said, shorter: where the jitter buffer stretches a voice, two periods fade into each other.
    pub altered: u64,
    /// Heard again.
    pub repeated: u64,
    /// Heard and never said: silence, concealment, changed samples.
    pub foreign: u64,
}

impl Heard {
    /// Samples that are not as they were said, apart from those that are lost.
    pub fn changed(&self) -> u64 {
        self.altered + self.repeated + self.foreign
    }
}

/// Compares what is heard with what the speaker says.
pub struct Ear {
    speaker: u32,
    /// The block that comes next, and how much of it was heard; none while it is being looked for.
    next: Option<(u32, usize)>,
    /// Where it was lost.
    after: Option<u32>,
    window: [u8; BLOCK],
    /// Bytes since it was lost.
    searched: u64,
    pub heard: Heard,
}

impl Ear {
    pub fn new(speaker: u32) -> Ear {
        Ear { speaker, next: None, after: None, window: [0; BLOCK], searched: 0, heard: Heard::default() }
    }

    pub fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.next {
                Some((n, done)) => self.compare(n, done, bytes),
                None => self.search(bytes),
            };
        }
    }

    fn compare<'a>(&mut self, n: u32, done: usize, bytes: &'a [u8]) -> &'a [u8] {
        if done == 0 && n.is_multiple_of(LOUD * BLOCKS) {
            let pause = bytes.iter().take_while(|b| SILENCE.contains(b)).count();
            if pause > 0 {
                return &bytes[pause..];
            }
        }
        let expected = block(n, self.speaker);
        let length = bytes.len().min(BLOCK - done);
        let same = bytes[..length].iter().zip(&expected[done..]).take_while(|(a, b)| a == b).count();
        self.heard.whole += same as u64;
        if same == length {
            let done = done + length;
            self.next = Some(if done == BLOCK { (n + 1, 0) } else { (n, done) });
            return &bytes[length..];
        }
        // What was heard of this block counts with the rest of it: it will be found missing or come again whole.
        self.heard.whole = self.heard.whole.saturating_sub((done + same) as u64);
        self.searched = (done + same) as u64;
        self.window = [0; BLOCK];
        self.window[BLOCK - done - same..].copy_from_slice(&expected[..done + same]);
        self.after = Some(n);
        self.next = None;
        &bytes[same..]
    }

    fn search<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (i, byte) in bytes.iter().enumerate() {
            self.window.rotate_left(1);
            self.window[BLOCK - 1] = *byte;
            self.searched += 1;
            let Some(n) = number(&self.window, self.speaker) else { continue };
            let foreign = self.searched - BLOCK as u64;
            self.searched = 0;
            self.heard.whole += BLOCK as u64;
            self.next = Some((n + 1, 0));
            if let Some(after) = self.after {
                self.heard.foreign += foreign;
                let missing = u64::from(n.saturating_sub(after)) * BLOCK as u64;
                *(if missing < FRAME { &mut self.heard.altered } else { &mut self.heard.lost }) += missing;
                self.heard.repeated += u64::from(after.saturating_sub(n)) * BLOCK as u64;
            }
            return &bytes[i + 1..];
        }
        &[]
    }

    /// Counts from here; what is being looked for is lost already.
    pub fn begin(&mut self) {
        self.heard = Heard::default();
    }

    /// The counts so far, with what was heard since the voice was lost.
    pub fn end(&self) -> Heard {
        let searched = if self.next.is_none() { self.searched } else { 0 };
        Heard { foreign: self.heard.foreign + searched, ..self.heard }
    }
}

/// Whether an ear tells the kinds of damage apart; run before each measurement that trusts it.
pub fn check() {
    let mut said = vec![0; 160 * 150];
    said.chunks_exact_mut(160).enumerate().for_each(|(i, frame)| write(i as u32 + 4000, 700, frame));
    let hear = |sound: &[&[u8]]| {
        let mut ear = Ear::new(700);
        // Frames need not lie as they were said.
        [&said[80..160], &sound.concat()].concat().chunks(160).for_each(|frame| ear.take(frame));
        let heard = ear.end();
        [heard.whole, heard.lost, heard.repeated, heard.foreign + heard.altered]
    };
    let silence = [SILENCE[0]; 160];
    let all = 160 * 120 - 80;
    assert_eq!(hear(&[&said[160..]]), [all, 0, 0, 0]);
    assert_eq!(hear(&[&said[160..320], &said[480..]]), [all - 160, 160, 0, 0], "a frame is lost");
    assert_eq!(hear(&[&said[160..320], &said[160..]]), [all + 160, 0, 160, 0], "a frame comes twice");
    assert_eq!(hear(&[&said[160..320], &silence, &said[320..]]), [all, 0, 0, 160], "silence in a phrase");
    assert_eq!(hear(&[&said[160..320], &silence, &said[480..]]), [all - 160, 160, 0, 160], "silence for a frame");
    let pause = 160 * 80;
    assert_eq!(hear(&[&said[160..pause], &silence, &said[pause..]]), [all, 0, 0, 0], "a longer pause");
    assert_eq!(hear(&[&said[160..pause], &said[pause + 160..]]), [all, 0, 0, 0], "a shorter one");
    let mut changed = said.clone();
    changed[1003] ^= 1;
    assert_eq!(hear(&[&changed[160..]]), [all - 8, 0, 0, 16], "a changed sample costs its block");
    assert_eq!(hear(&[&said[160..320], &silence]), [240, 0, 0, 160], "nothing comes behind it");
    let mut stranger = vec![0; 1600];
    stranger.chunks_exact_mut(160).enumerate().for_each(|(i, frame)| write(i as u32 + 4007, 699, frame));
    assert_eq!(hear(&[&stranger])[0], 80, "another's voice");
}
