//! `/`: where to look.

use axum::response::Html;

/// The page of links.
pub(super) async fn page() -> Html<String> {
    let version = env!("CARGO_PKG_VERSION");
    Html(format!(
        "<!doctype html>\n<meta charset=utf-8>\n<title>StreamHouse</title>\n\
         <h1>StreamHouse {version}</h1>\n<ul>\n\
         <li><a href=/metrics>/metrics</a> what is measured, for Prometheus\n\
         <li><a href=/health/ready>/health/ready</a> whether it can serve, part by part\n\
         <li><a href=/health/live>/health/live</a> whether it runs\n\
         <li><a href=/health>/health</a> the verdict alone\n\
         <li><a href=/groups>/groups</a> how far consumer groups are behind\n\
         <li><a href=/log-level>/log-level</a> which log lines are written; PUT changes it\n\
         </ul>\n"
    ))
}
