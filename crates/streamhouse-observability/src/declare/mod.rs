//! Typed instruments, declared as a table.
//!
//! [`instruments!`](crate::instruments!) turns rows into a struct of families and a `declare`
//! function. A family hands out cells; a cell is what hot code keeps.

mod cell;
mod histogram;
mod label;
mod registry;
mod row;

pub use cell::{
    Cell, CounterCell, Exit, Family, FloatCounterCell, FloatGaugeCell, GaugeCell, Number,
};
pub use histogram::{Exemplar, Exemplars, HistogramCell};
pub use label::{ClosedLabel, ClosedLabels, Label, LabelRow, Labels, PerValue};
pub use registry::{
    Counter, Declare, FloatCounter, FloatGauge, Gauge, Histogram, Instrument, Spec,
};
pub use row::{BYTES, COUNTS, Kind, Row, SECONDS, prometheus_name};

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
