//! Labels: what a metric is broken down by.
//!
//! A label is either **closed** (an enum whose every value is known) or **free** (a name such as a
//! topic's, whose row must then state a bound on series). A label set is a label, a tuple of
//! labels, or `()`.

use opentelemetry::{KeyValue, StringValue};

/// One label: a key and a value.
pub trait Label: Clone + Send + Sync + 'static {
    /// The label's key, as it stands on every series.
    const KEY: &'static str;

    /// Every value that the label can have; `None` for a free label.
    fn values() -> Option<Vec<&'static str>>;

    /// This value's text.
    fn value(&self) -> StringValue;

    /// The value that stands for this one once the row's bound on series is reached.
    ///
    /// A closed label keeps its value; a free one becomes `<other>`.
    fn overflow(&self) -> Self;
}

/// A label whose values are the variants of an enum.
pub trait ClosedLabel: Copy + Send + Sync + 'static {
    /// The label's key, as it stands on every series.
    const KEY: &'static str;
    /// All variants, in the order in which they are declared.
    const ALL: &'static [Self];
    /// This variant's text on a series.
    fn as_str(self) -> &'static str;
    /// This variant's place in [`Self::ALL`].
    fn index(self) -> usize;
}

impl<E: ClosedLabel> Label for E {
    const KEY: &'static str = E::KEY;

    fn values() -> Option<Vec<&'static str>> {
        Some(E::ALL.iter().map(|value| value.as_str()).collect())
    }

    fn value(&self) -> StringValue {
        self.as_str().into()
    }

    fn overflow(&self) -> Self {
        *self
    }
}

/// What the registry says about one label of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRow {
    /// The label's key.
    pub key: &'static str,
    /// Every possible value; `None` when the label is free.
    pub values: Option<Vec<&'static str>>,
}

impl LabelRow {
    fn of<A: Label>() -> Self {
        Self { key: A::KEY, values: A::values() }
    }
}

fn pair<A: Label>(label: &A) -> KeyValue {
    KeyValue::new(A::KEY, label.value())
}

/// A set of labels, in one fixed key order.
pub trait Labels: Clone + Send + Sync + 'static {
    /// An array of pairs: a `Vec` is never built.
    type Pairs: AsRef<[KeyValue]>;
    /// The rows of the registry for these labels.
    fn rows() -> Vec<LabelRow>;
    /// The pairs of this set.
    fn pairs(&self) -> Self::Pairs;
    /// The set that stands for this one beyond the row's bound on series.
    fn overflow(&self) -> Self;
}

/// A label set of closed labels only, so that its series can be listed.
pub trait ClosedLabels: Labels {
    /// Every possible set.
    fn all() -> Vec<Self>;
}

impl Labels for () {
    type Pairs = [KeyValue; 0];

    fn rows() -> Vec<LabelRow> {
        Vec::new()
    }

    fn pairs(&self) -> Self::Pairs {
        []
    }

    fn overflow(&self) -> Self {}
}

impl<A: Label> Labels for A {
    type Pairs = [KeyValue; 1];

    fn rows() -> Vec<LabelRow> {
        vec![LabelRow::of::<A>()]
    }

    fn pairs(&self) -> Self::Pairs {
        [pair(self)]
    }

    fn overflow(&self) -> Self {
        Label::overflow(self)
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    type Pairs = [KeyValue; 2];

    fn rows() -> Vec<LabelRow> {
        vec![LabelRow::of::<A>(), LabelRow::of::<B>()]
    }

    fn pairs(&self) -> Self::Pairs {
        [pair(&self.0), pair(&self.1)]
    }

    fn overflow(&self) -> Self {
        (self.0.overflow(), self.1.overflow())
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    type Pairs = [KeyValue; 3];

    fn rows() -> Vec<LabelRow> {
        vec![LabelRow::of::<A>(), LabelRow::of::<B>(), LabelRow::of::<C>()]
    }

    fn pairs(&self) -> Self::Pairs {
        [pair(&self.0), pair(&self.1), pair(&self.2)]
    }

    fn overflow(&self) -> Self {
        (self.0.overflow(), self.1.overflow(), self.2.overflow())
    }
}

impl<A: ClosedLabel> ClosedLabels for A {
    fn all() -> Vec<Self> {
        A::ALL.to_vec()
    }
}

impl<A: ClosedLabel, B: ClosedLabel> ClosedLabels for (A, B) {
    fn all() -> Vec<Self> {
        A::ALL.iter().flat_map(|a| B::ALL.iter().map(|b| (*a, *b))).collect()
    }
}

/// One handle for each value of a closed label, found by index.
#[derive(Clone, Debug)]
pub struct PerValue<E, H> {
    handles: Box<[H]>,
    label: std::marker::PhantomData<fn(E)>,
}

impl<E: ClosedLabel, H> PerValue<E, H> {
    /// Binds one handle for each value.
    pub fn bind(bind: impl FnMut(E) -> H) -> Self {
        let handles = E::ALL.iter().copied().map(bind).collect();
        Self { handles, label: std::marker::PhantomData }
    }

    /// The handle of `value`.
    pub fn of(&self, value: E) -> &H {
        &self.handles[value.index()]
    }
}
