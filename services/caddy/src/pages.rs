//! The pages that Caddy shows itself, to people on this machine: where nothing is at `/` yet, and
//! where a server does not answer. Without scripts and secrets.

use std::fmt::Write as _;

use kit::files::{PRIVATE_FILE_MODE, create_private_dir, write_if_changed};

use crate::routes::Route;
use crate::settings::Settings;

/// The directory of pages, in Caddy's working directory.
pub(crate) const PAGES: &str = "pages";
/// The page for `/`, there.
pub(crate) const START: &str = "start.html";

/// The begin of each page: the browser asks for no icon, which nobody has.
const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width\">\n\
    <link rel=\"icon\" href=\"data:,\">\n";
/// The style of the body.
const BODY: &str =
    "<body style=\"font: 1rem/1.5 sans-serif; max-width: 42rem; margin: 3rem auto\">\n";

/// Writes the page for `/`.
pub(crate) fn write(settings: &Settings) -> anyhow::Result<()> {
    let dir = settings.state_dir.join(PAGES);
    create_private_dir(&dir)?;
    let page = start(settings);
    write_if_changed(&dir.join(START), page.as_bytes(), PRIVATE_FILE_MODE)?;
    Ok(())
}

fn start(settings: &Settings) -> String {
    let mut page = format!("{HEAD}<title>Core</title>\n{BODY}<h1>The stack runs</h1>\n");
    page.push_str("<p>No page is at <code>/</code> yet. There are:</p>\n<ul>\n");
    page.push_str("<li><a href=\"/_/\">PocketBase's admin interface</a>\n");
    page.push_str("<li><a href=\"/api/health\">PocketBase's API</a>\n");
    for route in &settings.routes {
        let Route {
            service,
            path,
            host,
            ..
        } = route;
        let link = match host {
            Some(host) => format!("//{host}:{}{path}", settings.port),
            None => path.clone(),
        };
        let _ = writeln!(
            page,
            "<li><a href=\"{link}\">{link}</a>: the service {service}"
        );
    }
    page.push_str(
        "</ul>\n<p>To put a page here, write \
         <code>services/pocketbase/pb_public/index.html</code>, or give a service the route \
         <code>/</code>: \
         <code>\"routes\": [{\"path\": \"/\", \"port\": \"http\"}]</code> in its \
         <code>service.json</code>. How to build an application here is in \
         <code>docs/your-app.md</code>.\n",
    );
    page
}

/// Returns the page for a server that does not answer, with placeholders of Caddy. It loads itself
/// again.
pub(crate) fn down(settings: &Settings) -> String {
    let instance = settings.instance.as_deref();
    let instance = instance.map_or_else(String::new, |name| format!(" --instance {name}"));
    let service = "{http.vars.service}";
    format!(
        "{HEAD}<meta http-equiv=\"refresh\" content=\"2\">\n\
         <title>{service} does not answer</title>\n\
         {BODY}<h1>{service} does not answer</h1>\n\
         <p>It is starting, was stopped or has failed \
         ({{http.error.status_code}} {{http.error.status_text}}). \
         This page loads itself again until it answers.\n\
         <p>Its state: <code>cargo xtask status{instance}</code>\n\
         <p>Its last words: <code>cargo xtask logs {service}{instance}</code>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    #[test]
    fn the_start_page_links_all_routes() {
        let routes = r#"[{"service":"web","path":"/app","address":"localhost:1"},
            {"service":"api","path":"/","host":"api.localhost","address":"localhost:2"}]"#;
        let page = start(&settings(&[("CADDY_ROUTES", routes)]).unwrap());
        assert!(page.contains("href=\"/app\""), "{page}");
        assert!(page.contains("href=\"//api.localhost:2015/\""), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }

    #[test]
    fn commands_name_the_instance() {
        let page = down(&settings(&[("CADDY_INSTANCE", "ci")]).unwrap());
        let command = "cargo xtask logs {http.vars.service} --instance ci";
        assert!(page.contains(command), "{page}");
    }
}
