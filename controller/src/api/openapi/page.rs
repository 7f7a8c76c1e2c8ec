//! The description as a page: HTML made once, from the OpenAPI document.

use serde_json::Value;
use std::fmt::Write;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;\
color:#1b1b1b;background:#fff}code,pre{font:14px/1.4 ui-monospace,monospace}pre{background:#f4f4f2;padding:.8rem;\
overflow:auto}details{border-top:1px solid #ccc;padding:.4rem 0}summary{cursor:pointer}summary code{font-weight:600}\
table{border-collapse:collapse;margin:.5rem 0}th,td{text-align:left;vertical-align:top;padding:.15rem 1.2rem .15rem 0}\
h2{margin-top:2.5rem}a{color:#0b57a4}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}\
pre{background:#242424}a{color:#7db7f0}}";

/// Renders an OpenAPI document.
pub(super) fn render(api: &Value) -> String {
    let mut page = String::new();
    let title = text(&api["info"]["title"]);
    // Writing to a string can't fail.
    let _ = writeln!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title} {}</h1><p>{}<p>The same for programs: \
         <a href=openapi.json>openapi.json</a>.",
        text(&api["info"]["version"]),
        text(&api["info"]["description"]),
    );
    for tag in tags(api) {
        let _ = writeln!(page, "<h2>{}</h2>", escape(tag));
        for (path, method, operation) in operations(api).filter(|(.., operation)| operation["tags"][0] == tag)
        {
            add_operation(&mut page, path, method, operation);
        }
    }
    page.push_str("<h2>Schemas</h2>\n");
    for (name, schema) in entries(&api["components"]["schemas"]) {
        let (name, schema) = (escape(name), escape(&format!("{schema:#}")));
        let _ = writeln!(page, "<h3 id=\"{name}\"><code>{name}</code></h3><pre>{schema}</pre>");
    }
    page
}

fn tags(api: &Value) -> Vec<&str> {
    let mut tags: Vec<&str> = Vec::new();
    for tag in operations(api).filter_map(|(.., operation)| operation["tags"][0].as_str()) {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

fn operations(api: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    entries(&api["paths"])
        .flat_map(|(path, item)| entries(item).map(move |(method, operation)| (path, method, operation)))
}

fn entries(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    object.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

fn add_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    let _ = writeln!(
        page,
        "<details><summary><code>{} {}</code> {}</summary><p>{}",
        method.to_uppercase(),
        escape(path),
        text(&operation["summary"]),
        text(&operation["description"]),
    );
    if let Some(parameters) = operation["parameters"].as_array() {
        page.push_str("<table><tr><th>Parameter<th>In<th>\n");
        for parameter in parameters {
            let _ = writeln!(
                page,
                "<tr><td><code>{}</code><td>{}<td>{}",
                text(&parameter["name"]),
                text(&parameter["in"]),
                text(&parameter["description"]),
            );
        }
        page.push_str("</table>\n");
    }
    if !operation["requestBody"].is_null() {
        let _ = writeln!(page, "<p>Body: {}", body(&operation["requestBody"]));
    }
    page.push_str("<table><tr><th>Status<th>Body<th>\n");
    for (status, response) in entries(&operation["responses"]) {
        let (body, description) = (body(response), text(&response["description"]));
        let _ = writeln!(page, "<tr><td>{}<td>{body}<td>{description}", escape(status));
    }
    page.push_str("</table></details>\n");
}

/// The first kind of body, with a link to its schema.
fn body(holder: &Value) -> String {
    let Some((media_type, content)) = entries(&holder["content"]).next() else { return String::new() };
    match content["schema"]["$ref"].as_str().and_then(|link| link.rsplit('/').next()) {
        Some(name) => format!("<a href=\"#{0}\"><code>{0}</code></a>", escape(name)),
        None => escape(media_type),
    }
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_described_is_shown_and_escaped() {
        let page = render(&json!({
            "info": {"title": "a<b", "version": "1", "description": "d"},
            "paths": {"/x/{y}": {"get": {
                "tags": ["T"], "summary": "shows", "parameters": [{"name": "y", "in": "path", "description": "\"q\""}],
                "responses": {"200": {"description": "ok", "content": {"application/json": {"schema":
                    {"$ref": "#/components/schemas/S"}}}}}
            }}},
            "components": {"schemas": {"S": {"type": "string"}}}
        }));
        for part in
            ["a&lt;b", "<h2>T</h2>", "GET /x/{y}", "&quot;q&quot;", "href=\"#S\"", "id=\"S\"", "shows"]
        {
            assert!(page.contains(part), "{part} is missing: {page}");
        }
        for word in ["<script", "http://", "https://", "src="] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
