//! Health: checks, a prober that caches their verdicts, and the report.

use crate::labels::Component;
use async_trait::async_trait;

/// A component that can be probed.
#[async_trait]
pub trait Check: Send + Sync + 'static {
    /// Which component.
    fn component(&self) -> Component;
    /// Whether the service is unready while this check fails; a soft check only degrades.
    fn required(&self) -> bool;
    /// Probes the component. The error names a cause class: no hosts, keys or statements.
    async fn probe(&self) -> Result<(), String>;
}
