//! What a speaker said before, cut to what helps a translator.

/// The newest `segments` texts of `said` that together have fewer than `bytes` bytes, oldest first. Older sentences
/// bring nothing and cost time.
pub fn newest(said: &[String], segments: usize, bytes: usize) -> Vec<&str> {
    let mut left = bytes;
    let newest = said.iter().rev().take(segments).take_while(|text| {
        let fits = text.len() < left;
        left = left.saturating_sub(text.len() + 1);
        fits
    });
    let mut chosen: Vec<&str> = newest.map(String::as_str).collect();
    chosen.reverse();
    chosen
}
