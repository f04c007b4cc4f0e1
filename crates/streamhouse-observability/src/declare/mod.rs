//! Typed instruments, declared as a table.
//!
//! [`instruments!`](crate::instruments!) turns rows into a struct of families and a `declare`
//! function. A family hands out cells; a cell is what hot code keeps.

mod cell;
mod family;
mod histogram;
mod kinds;
mod label;
mod labels_text;
mod name;
mod registry;
mod row;
mod rules;

pub use cell::{CounterCell, FloatCounterCell, FloatGaugeCell, GaugeCell, Handle};
pub use family::Number;
pub use histogram::{Exemplar, Exemplars, HistogramCell};
pub use kinds::{CellFamily, Counter, FloatCounter, FloatGauge, Gauge, Histogram, Instrument};
pub use label::{ClosedLabel, ClosedLabels, Label, LabelRow, Labels, PerValue};
pub use name::prometheus_name;
pub use registry::{Declare, Spec};
pub use row::{BYTES, COUNTS, Kind, Row, SECONDS};

pub(crate) use family::Family;
pub(crate) use histogram::ExemplarSeries;
pub(crate) use labels_text::write_labels;
pub(crate) use name::{name_with, unit_word};
pub(crate) use registry::{Collecting, Declared, Registry, Source, collecting};
pub(crate) use rules::{Exit, Rules};

/// Declares a group of instruments as a table.
///
/// A row is `name: Kind<Labels> = "unit";`, with `, name = "otel.name"`, `, bounds = BOUNDS` and
/// `, series = LIMIT` between unit and semicolon where they differ from what the row implies.
#[macro_export]
macro_rules! instruments {
    ($(#[doc = $about:literal])+ $vis:vis struct $group:ident($scope:literal) {
        $($(#[doc = $help:literal])+ $field:ident: $kind:ty = $unit:literal
            $(, name = $name:literal)? $(, bounds = $bounds:expr)? $(, series = $series:expr)?;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        $vis struct $group { $($(#[doc = $help])+ pub $field: $kind,)+ }
        impl $group {
            /// Builds every instrument of the group and adds its row to the registry.
            pub fn declare(d: &$crate::declare::Declare) -> Self {
                Self { $($field: <$kind as $crate::declare::Instrument>::declare(
                    d, $crate::declare::Spec {
                        scope: $scope,
                        field: stringify!($field),
                        unit: $unit,
                        help: concat!($($help),+).trim_ascii(),
                        name: None $(.or(Some($name)))?,
                        bounds: None $(.or(Some($bounds)))?,
                        series: None $(.or(Some($series)))?,
                    }),)+ }
            }
        }
    };
}
