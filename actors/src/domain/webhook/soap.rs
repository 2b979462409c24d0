//! Reads the notifications of a SOAP envelope (Salesforce outbound messages).

use roxmltree::{Document, Node};

use super::pick::Row;

/// Elements and attributes in an envelope; a hundred notifications of a wide object have far fewer.
const NODES_MAX: u32 = 100_000;

/// One row per notification. A pointer names an element inside `notifications`, or inside one `Notification`; the last
/// part `@type` stands for the type that the element before it names. No row when the body is no such envelope, or has a
/// document type: those are how XML reads files and eats memory.
pub(super) fn rows(body: &[u8], pointers: &[&str]) -> Vec<Row> {
    let options = roxmltree::ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..Default::default() };
    let document = std::str::from_utf8(body).ok().and_then(|text| Document::parse_with_options(text, options).ok());
    let Some(document) = document else { return vec![] };
    let body = child(document.root_element(), "Body");
    let Some(notifications) = body.and_then(|body| child(body, "notifications")) else { return vec![] };
    let each = notifications.children().filter(|node| node.tag_name().name() == "Notification");
    each.map(|notification| pointers.iter().map(|pointer| value(notifications, notification, pointer)).collect())
        .collect()
}

fn value(notifications: Node<'_, '_>, notification: Node<'_, '_>, pointer: &str) -> Option<String> {
    let mut parts = pointer.split('/').skip(1);
    let first = parts.next()?;
    let mut node = if first == "Notification" { notification } else { child(notifications, first)? };
    for part in parts {
        if part == "@type" {
            let name = node.attributes().find(|attribute| attribute.name() == "type")?.value();
            return Some(name.rsplit(':').next().unwrap_or(name).to_owned());
        }
        node = child(node, part)?;
    }
    node.text().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.tag_name().name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTERS: [&str; 3] = ["/OrganizationId", "/Notification/Id", "/Notification/sObject/@type"];

    fn envelope(inside: &str) -> String {
        format!(
            "<e:Envelope xmlns:e='e'><e:Body><notifications xmlns='o'>{inside}</notifications></e:Body></e:Envelope>"
        )
    }

    #[test]
    fn each_notification_is_a_row() {
        let one =
            |id: &str| format!("<Notification><Id>{id}</Id><sObject xmlns:x='x' x:type='sf:Lead'/></Notification>");
        let body = envelope(&format!("<OrganizationId> 00D1 </OrganizationId>{}{}", one("a"), one("b")));
        let row = |id: &str| vec![Some("00D1".to_owned()), Some(id.to_owned()), Some("Lead".to_owned())];
        assert_eq!(rows(body.as_bytes(), &POINTERS), vec![row("a"), row("b")]);
    }

    #[test]
    fn what_is_no_envelope_has_no_rows() {
        let bomb = format!("<!DOCTYPE e [<!ENTITY a 'b'>]>{}", envelope("<Notification/>"));
        for body in ["", "{}", "<a/>", "<e><Body/></e>", &bomb, &envelope("<OrganizationId>x</OrganizationId>")] {
            assert!(rows(body.as_bytes(), &POINTERS).is_empty(), "{body}");
        }
        let elsewhere = "<e><Body><notifications><Notification><OrganizationId>x</OrganizationId></Notification></notifications></Body></e>";
        assert_eq!(rows(elsewhere.as_bytes(), &POINTERS), vec![vec![None, None, None]]);
    }
}
