//! Stripe: who is the customer of the object, and the object says its own kind.

use serde_json::Value;

use super::super::scheme::StampForm;
use super::Shape;
use super::row::{NOTHING, Row, Word, read};

static ROWS: &[Row] = &[
    Row { on: "customer.created", ..CUSTOMER },
    Row { on: "customer.updated", ..CUSTOMER },
    Row { on: "customer.deleted", ..CUSTOMER },
    STRIPE,
];

const CUSTOMER: Row = Row {
    who_id: &["/data/object/id"],
    who_name: &["/data/object/name"],
    who_email: &["/data/object/email"],
    ..STRIPE
};

const STRIPE: Row = Row {
    kind: Word::At("/data/object/object", ""),
    action: Word::Last,
    // Events of the second version name their object only.
    id: &["/data/object/id", "/related_object/id"],
    title: &["/data/object/number", "/data/object/description"],
    who_id: &["/data/object/customer", "/data/object/customer/id"],
    who_name: &[
        "/data/object/customer_name",
        "/data/object/customer_details/name",
        "/data/object/billing_details/name",
        "/data/object/customer/name",
    ],
    who_email: &[
        "/data/object/customer_email",
        "/data/object/customer_details/email",
        "/data/object/billing_details/email",
        "/data/object/receipt_email",
        "/data/object/customer/email",
    ],
    when: &[("/created", StampForm::UnixSeconds), ("/created", StampForm::Rfc3339)],
    link: &["/data/object/hosted_invoice_url", "/data/object/receipt_url", "/data/object/url"],
    ..NOTHING
};

pub(super) fn shape(event_type: &str, body: &Value) -> Shape {
    read(ROWS, event_type, body)
}
