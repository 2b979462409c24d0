//! How wide one endpoint is sent to.

/// Posts under way at one endpoint, once it answers.
const WIDTH_MAX: usize = 64;
/// The same before it has answered.
const WIDTH_FIRST: usize = 2;

/// Posts under way: one more with each answer, half of them with each that does not come. So one that answers has all of
/// them after a few answers, and what a receiver that hangs takes from others is little at first and shrinks to one post.
#[derive(Debug)]
pub(super) struct Width(usize);

impl Default for Width {
    fn default() -> Self {
        Self(WIDTH_FIRST)
    }
}

impl Width {
    pub(super) fn get(&self) -> usize {
        self.0
    }

    pub(super) fn answered(&mut self) {
        self.0 = (self.0 + 1).min(WIDTH_MAX);
    }

    pub(super) fn strained(&mut self) {
        self.0 = (self.0 / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_grows_by_answers_and_shrinks_by_silence() {
        let mut width = Width::default();
        (0..100).for_each(|_| width.answered());
        assert_eq!(width.get(), WIDTH_MAX);
        (0..100).for_each(|_| width.strained());
        assert_eq!(width.get(), 1);
    }
}
