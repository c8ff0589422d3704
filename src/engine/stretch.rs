//! Changes how fast speech is, and not its pitch: WSOLA (W. Verhelst, M. Roelands: An overlap-add technique based on
//! waveform similarity, 1993), with a hop that waits for a place where a cut is not heard.
//!
//! Output is the input, sample for sample, except for splices: at a splice one period of the voice is left out (or, below
//! speed 1, said twice), and 6 ms fade from one side of the cut to the other. Between splices nothing is touched, so at
//! speed 1.0 nothing is at all.
//!
//! Every 2 ms there is a place for a splice. For each the period is sought at which the speech is most like itself, first
//! at about 4 kHz, and at full rate once a place is taken. What a splice costs is the difference of its two sides
//! against how loud the speech has been: next to nothing in steady vowels, much where a plosive begins. It is done where,
//! of all places in sight, cost and distance from the time when it was due are least, and may wait for 20 ms. Pauses, also
//! those of some ten milliseconds inside a sentence, are shortened first, and a little more than is due.

/// Difference of the two sides of a cut, against the loudness there, at which a splice is done as soon as it is due; and how
/// much more it may be for each millisecond that it is late.
const COST_DUE: f32 = 0.05;
const COST_PER_MS: f32 = 0.005;
/// How many milliseconds before its time a splice may come, and behind which it is done anywhere.
const EARLY_MS: f32 = 1.0;
const LATE_MS: f32 = 20.0;
/// What each millisecond of a piece counts, so that one period is taken and not two.
const COST_PER_MS_LONG: f32 = 0.002;
/// What a millisecond (squared) off the right time weighs against the cost of another place.
const COST_PER_MS2: f32 = 0.001;
/// Mean square, against the loudest lately, below which speech pauses. Most of what the time behind a pause will want is done
/// in the pause: so a short word is not touched where there are pauses around it.
const QUIET: f32 = 1e-4;
const PAUSE_MS: f32 = 140.0;
const PAUSE_SHARE: f64 = 0.75;
/// A mean square so small that nobody hears it (one step of 16 bits).
const NOTHING: f32 = 1.0;

/// A place for a splice: the input from here on is like the input `lag` samples later.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Samples.
    lag: usize,
    /// Difference of the two sides, 0 for none, and what the length costs.
    cost: f32,
}

/// Lengths in samples at one rate.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    hz: u32,
    /// Samples that make one of the coarse search.
    coarse: usize,
    /// From one place to the next, a multiple of `coarse`.
    grid: usize,
    /// What is compared for a splice; the fade lies in its middle.
    window: usize,
    fade: usize,
    /// The same in a pause.
    pause_fade: usize,
    /// Shortest and longest piece that is left out or repeated.
    lag: (usize, usize),
    /// How far ahead places are compared.
    sight: usize,
    /// Kept before the next sample.
    history: usize,
    /// Input that must be there before the next sample goes out.
    ahead: usize,
    /// Input that is taken in at a time.
    block: usize,
}

impl Lengths {
    fn new(hz: u32) -> Self {
        let ms = |tenths: usize| (hz as usize * tenths / 10_000).max(1);
        let coarse = ((hz + 2000) / 4000).max(1) as usize;
        let whole = |samples: usize| samples.div_ceil(coarse) * coarse;
        let (grid, window, lag) = (whole(ms(20)), whole(ms(180)), (whole(ms(25)), whole(ms(140))));
        let (fade, pause_fade, sight) = (ms(60), ms(15), ms(70));
        // Both end on places, so that whole places are forgotten.
        let history = (window / 2).div_ceil(grid) * grid;
        let ahead = sight + 2 * grid + (window + fade) / 2 + lag.1 + 2 * coarse;
        Lengths { hz, coarse, grid, window, fade, pause_fade, lag, sight, history, ahead, block: ms(200) }
    }

    /// Samples the buffer holds at most.
    fn capacity(&self) -> usize {
        2 * (self.history + self.ahead + self.lag.1 + self.grid) + self.block
    }

    /// Where the window of a place begins: the fade is in its middle.
    fn window_at(&self, place: usize) -> usize {
        place * self.grid + self.fade / 2 - self.window / 2
    }

    fn in_ms(&self, samples: f32) -> f32 {
        samples * 1000.0 / self.hz as f32
    }
}

/// A time-scale modifier for one stream of mono speech, 8 to 48 kHz.
///
/// `input samples taken - pending()` is the place in the input that the output has come to, always exactly.
#[derive(Debug)]
pub struct Stretch {
    len: Lengths,
    speed: f32,
    /// Output per input at this speed.
    scale: f64,
    /// Samples the output is longer than the speeds so far wanted it to be.
    debt: f64,
    /// Input from `history` before the next sample on; the first sample is a place.
    input: Vec<i16>,
    /// The next sample.
    next: usize,
    /// Means of `coarse` samples of `input` each.
    coarse: Vec<f32>,
    /// What is known of the places in `input`.
    places: Vec<Place>,
    /// The loudest mean square lately.
    loud: f32,
}

impl Stretch {
    /// Longest time by which the output may be longer or shorter than the speeds say, in milliseconds. The longest piece left
    /// out, how long it may wait for its place, and what comes behind the last place when the stream ends.
    pub const HOP_MS: u32 = 40;
    /// Speeds that can be set.
    pub const SPEEDS: std::ops::RangeInclusive<f32> = 0.8..=1.25;

    /// For mono speech at `hz` (8,000 to 48,000; anything below is taken for 8,000), at speed 1.0.
    pub fn new(hz: u32) -> Self {
        let len = Lengths::new(hz.max(8_000));
        let capacity = len.capacity();
        let mut input = Vec::with_capacity(capacity);
        input.resize(len.history, 0);
        Stretch {
            len,
            speed: 1.0,
            scale: 1.0,
            debt: 0.0,
            input,
            next: len.history,
            coarse: Vec::with_capacity(capacity / len.coarse + 1),
            places: Vec::with_capacity(capacity / len.grid + 1),
            loud: NOTHING,
        }
    }

    /// From the next sample taken in on: 1.25 plays 10 s in 8 s. Clamped to [`Stretch::SPEEDS`]; not a number is 1.0.
    ///
    /// At 1.0 what comes in goes out at once and unchanged, unless the output is nearly a hop off: then splices go on first.
    pub fn set_speed(&mut self, speed: f32) {
        let speed = if speed.is_nan() { 1.0 } else { speed.clamp(*Self::SPEEDS.start(), *Self::SPEEDS.end()) };
        let scale = 1.0 / f64::from(speed);
        // What waits was taken in at the old speed, and will be counted at the new one.
        self.debt += self.pending() as f64 * (scale - self.scale);
        (self.speed, self.scale) = (speed, scale);
    }

    /// What comes next follows a pause that others take care of: the output begins ahead, as behind a pause inside.
    pub fn follow_pause(&mut self) {
        self.debt -= self.coming() * (1.0 - self.scale).signum();
    }

    /// Samples of what the time behind a pause will want that are done in the pause.
    fn coming(&self) -> f64 {
        f64::from(PAUSE_MS) * f64::from(self.len.hz) / 1000.0 * (1.0 - self.scale).abs() * PAUSE_SHARE
    }

    /// The speed that was set.
    pub fn speed(&self) -> f32 {
        self.speed
    }

    /// Takes `input` in, any number of samples, and appends to `out` what is ready.
    pub fn process(&mut self, input: &[i16], out: &mut Vec<i16>) {
        for block in input.chunks(self.len.block) {
            if self.input.len() + block.len() > self.len.capacity() {
                self.forget();
            }
            self.input.extend_from_slice(block);
            while self.step(out) {}
        }
    }

    /// Appends what is left, unchanged; afterwards all but the speed is as new.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        out.extend_from_slice(&self.input[self.next..]);
        self.input.clear();
        self.input.resize(self.len.history, 0);
        self.coarse.clear();
        self.places.clear();
        (self.next, self.debt, self.loud) = (self.len.history, 0.0, NOTHING);
    }

    /// Samples taken in that the output has not come to yet; less than 40 ms, and 0 at speed 1.0 once it has settled.
    pub fn pending(&self) -> usize {
        self.input.len() - self.next
    }

    /// Drops input that is not needed any more, whole places only.
    fn forget(&mut self) {
        let places = (self.next - self.len.history) / self.len.grid;
        let samples = places * self.len.grid;
        self.input.drain(..samples);
        self.next -= samples;
        self.coarse.drain(..(samples / self.len.coarse).min(self.coarse.len()));
        self.places.drain(..places.min(self.places.len()));
    }

    /// Appends the samples up to the next place, or a splice there; false when more input is needed.
    fn step(&mut self, out: &mut Vec<i16>) -> bool {
        let settled = self.len.lag.1 as f64 / 2.0 + f64::from(LATE_MS) * f64::from(self.len.hz) / 1000.0;
        if self.speed == 1.0 && self.debt.abs() <= settled {
            self.copy(self.input.len(), out);
            return false;
        }
        if self.pending() < self.len.ahead {
            return false;
        }
        let leave_out = if self.speed == 1.0 { self.debt > 0.0 } else { self.speed > 1.0 };
        let Lengths { grid, sight, fade, pause_fade, .. } = self.len;
        let first = self.next.div_ceil(grid);
        let at = first * grid;
        self.listen(first);
        let pause = self.in_pause(at, leave_out);
        if pause > 0 {
            let alike = self.alike(at, pause, pause_fade);
            self.splice(at, pause, leave_out, pause_fade, alike, out);
        } else if self.is_place(first, (self.next + sight) / grid, leave_out) {
            let (lag, alike) = self.fine_lag(at, self.places[first].lag);
            self.splice(at, lag, leave_out, fade, alike, out);
        } else {
            self.copy((self.next / grid + 1) * grid, out);
        }
        true
    }

    /// Whether to splice at the place `first`, and not at a later one up to `last`.
    fn is_place(&mut self, first: usize, last: usize, leave_out: bool) -> bool {
        let owed = if leave_out { self.debt } else { -self.debt } as f32;
        if self.len.in_ms(owed - self.len.lag.0 as f32 / 2.0) < -EARLY_MS {
            // Too early for the shortest piece, at this place and before it.
            return false;
        }
        self.look_until(last);
        let late = self.lateness(first, leave_out);
        let good = self.places[first].cost <= COST_DUE + COST_PER_MS * (late + EARLY_MS);
        let price = |place: usize| self.places[place].cost + COST_PER_MS2 * self.lateness(place, leave_out).powi(2);
        let here = price(first);
        late > -EARLY_MS && (good || late > LATE_MS) && (first + 1..=last).all(|place| price(place) >= here)
    }

    /// Milliseconds that a splice at a place is late: on time it takes the output from half its length behind to as much
    /// ahead.
    fn lateness(&self, place: usize, leave_out: bool) -> f32 {
        let (at, lag) = (place * self.len.grid, self.places[place].lag);
        let cut = if leave_out { at } else { at + lag };
        let debt = (self.debt + (cut - self.next) as f64 * (1.0 - self.scale)) as f32;
        self.len.in_ms(if leave_out { debt } else { -debt } - lag as f32 / 2.0)
    }

    /// Appends the input up to `until`.
    fn copy(&mut self, until: usize, out: &mut Vec<i16>) {
        out.extend_from_slice(&self.input[self.next..until]);
        self.debt += (until - self.next) as f64 * (1.0 - self.scale);
        self.next = until;
    }

    /// Appends the input up to the splice, and its fade.
    fn splice(&mut self, at: usize, lag: usize, leave_out: bool, fade: usize, alike: f32, out: &mut Vec<i16>) {
        let (from, to) = if leave_out { (at, at + lag) } else { (at + lag, at) };
        self.copy(from, out);
        let sides = self.input[from..from + fade].iter().zip(&self.input[to..to + fade]);
        out.extend(sides.enumerate().map(|(i, (old, new))| {
            let into = (i as f32 + 0.5) / fade as f32;
            let stay = 1.0 - into;
            // Sides that are not alike would be fainter together than alone.
            let power = into * into + stay * stay + 2.0 * into * stay * alike.max(0.0);
            let mixed = (f32::from(*old) * stay + f32::from(*new) * into) / power.sqrt();
            mixed.round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16
        }));
        self.debt += fade as f64 - (to as f64 + fade as f64 - from as f64) * self.scale;
        self.next = to + fade;
    }

    /// Brings the means up to date, and the loudness to a place.
    fn listen(&mut self, place: usize) {
        let Lengths { coarse, window, .. } = self.len;
        while (self.coarse.len() + 1) * coarse <= self.input.len() {
            let from = self.coarse.len() * coarse;
            let sum: i32 = self.input[from..from + coarse].iter().map(|s| i32::from(*s)).sum();
            self.coarse.push(sum as f32 / coarse as f32);
        }
        let from = self.len.window_at(place) / coarse;
        let heard = &self.coarse[from..from + window / coarse];
        self.loud = (self.loud * 0.98).max(dot(heard, heard) / heard.len() as f32);
    }

    /// Looks at the places up to and including `last`; those that the output has passed are left out.
    fn look_until(&mut self, last: usize) {
        let grid = self.len.grid;
        while self.places.len() <= last {
            let place = self.places.len();
            let passed = Place { lag: self.len.lag.0, cost: f32::INFINITY };
            let found = if place * grid < self.next { passed } else { self.look_at(place) };
            self.places.push(found);
        }
    }

    /// The period at a place, by the means.
    fn look_at(&mut self, place: usize) -> Place {
        let Lengths { coarse, window, lag, .. } = self.len;
        let from = self.len.window_at(place) / coarse;
        let (window, shortest, longest) = (window / coarse, lag.0 / coarse, lag.1 / coarse);
        let all = &self.coarse[from..from + longest + window];
        let here = &all[..window];
        let energy_here = dot(here, here);
        let floor = NOTHING * window as f32;
        let mut energy = dot(&all[shortest..shortest + window], &all[shortest..shortest + window]);
        let share = 1.0 / (self.loud * window as f32 + floor);
        let longer = COST_PER_MS_LONG * self.len.in_ms(coarse as f32);
        let mut best = Place { lag: 0, cost: f32::MAX };
        for lag in shortest..=longest {
            let there = &all[lag..lag + window];
            let apart = ((energy_here + energy) / 2.0 - dot(here, there)).max(0.0);
            let cost = apart * share + longer * lag as f32;
            if cost < best.cost {
                best = Place { lag: lag * coarse, cost };
            }
            if lag < longest {
                let (new, old) = (all[lag + window], all[lag]);
                energy = (energy + new * new - old * old).max(0.0);
            }
        }
        best
    }

    /// How much may be left out or repeated at `at` because speech pauses there; 0 for nothing.
    fn in_pause(&self, at: usize, leave_out: bool) -> usize {
        let Lengths { grid, pause_fade, lag: (shortest, _), .. } = self.len;
        let owed = (if leave_out { self.debt } else { -self.debt } + self.coming()).max(0.0) as usize;
        if owed < shortest {
            return 0;
        }
        let cell = grid / 4;
        let most = (self.loud * QUIET).max(NOTHING) * cell as f32;
        let cells = self.input[at..self.next + self.len.ahead].chunks_exact(cell);
        let quiet = cells.take_while(|cell| product(cell, cell) <= most).count() * cell;
        let piece = owed.min(quiet.saturating_sub(pause_fade));
        if piece < shortest { 0 } else { piece }
    }

    /// How alike `len` samples on the two sides of a splice are, -1 to 1.
    fn alike(&self, at: usize, lag: usize, len: usize) -> f32 {
        let (a, b) = (&self.input[at..at + len], &self.input[at + lag..at + lag + len]);
        product(a, b) / ((product(a, a) + product(b, b)) / 2.0 + NOTHING)
    }

    /// The period to the sample, and how alike the sides are, 0 to 1.
    fn fine_lag(&self, at: usize, lag: usize) -> (usize, f32) {
        let Lengths { coarse, fade, lag: (shortest, longest), .. } = self.len;
        // The fade, and half as much on each side of it.
        let from = at - fade / 2;
        let side = |lag: usize| &self.input[from + lag..from + lag + 2 * fade];
        let energy_here = product(side(0), side(0));
        let mut best = (lag, f32::MIN);
        for lag in (lag - coarse).max(shortest)..=(lag + coarse).min(longest) {
            let there = side(lag);
            let alike = product(side(0), there) / ((energy_here + product(there, there)) / 2.0 + NOTHING);
            if alike > best.1 {
                best = (lag, alike);
            }
        }
        best
    }
}

/// Sum of products.
fn product(a: &[i16], b: &[i16]) -> f32 {
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a8.remainder().iter().zip(b8.remainder());
    let mut sums = [0.0_f32; 8];
    for (a, b) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += f32::from(a[i]) * f32::from(b[i]);
        }
    }
    sums.iter().sum::<f32>() + rest.map(|(a, b)| f32::from(*a) * f32::from(*b)).sum::<f32>()
}

/// Sum of products, in eight sums that the compiler keeps in vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(a, b)| a * b).sum();
    let mut sums = [0.0_f32; 8];
    for (a, b) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    rest + sums.iter().sum::<f32>()
}

#[cfg(test)]
#[path = "stretch_tests.rs"]
mod tests;
