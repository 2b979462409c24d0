//! How well the right clauses are found, on contract clauses labelled by lawyers (`tests/fixtures/ai-eval`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, in_workspace, models};
use crate::domain::search::{QuantizedQuery, Rows, Scored, TermIndex, bm25, rank};
use crate::domain::task::TaskKind;

#[derive(Deserialize)]
struct Clauses {
    docs: BTreeMap<String, String>,
    queries: BTreeMap<String, String>,
    qrels: BTreeMap<String, BTreeMap<String, u32>>,
}

impl Clauses {
    fn load() -> Self {
        let file = in_workspace("tests/fixtures/ai-eval/contract-clauses.json");
        let mut clauses: Self = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        // Each question begins with what to do with it: that is for the labeller.
        for question in clauses.queries.values_mut() {
            let rest = question.split_once(" clause ").map_or(question.as_str(), |(_, rest)| rest);
            *question = rest.trim_start_matches("provides ").trim_start_matches("that ").to_owned();
        }
        clauses
    }

    /// Mean nDCG of the first ten results over all questions.
    fn quality(&self, find: impl Fn(usize, &str) -> Vec<Scored>) -> f64 {
        let names: Vec<&String> = self.docs.keys().collect();
        let gain = |place: usize| 1.0 / f64::from(u32::try_from(place + 2).unwrap()).log2();
        let score = |(at, (name, question)): (usize, (&String, &String))| {
            let right = &self.qrels[name];
            let found = find(at, question);
            let hit = |(_, scored): &(usize, &Scored)| right.contains_key(names[scored.chunk]);
            let got: f64 = found.iter().take(10).enumerate().filter(hit).map(|(place, _)| gain(place)).sum();
            got / (0..right.len().min(10)).map(gain).sum::<f64>()
        };
        let total: f64 = self.queries.iter().enumerate().map(score).sum();
        total / f64::from(u32::try_from(self.queries.len()).unwrap())
    }
}

#[test]
fn words_alone_find_the_right_clauses() {
    let clauses = Clauses::load();
    let index = TermIndex::build(clauses.docs.values().map(String::as_str));
    let none = vec![None; clauses.docs.len()];
    let quality = clauses.quality(|_, question| rank(&bm25(&[&index], question), &none, 10));
    eprintln!("nDCG@10 of BM25: {quality:.4}");
    assert!(quality >= 0.38, "{quality}");
}

#[tokio::test]
async fn meaning_helps_words() {
    let Some(folder) = models("meaning_helps_words") else { return };
    let bench = Bench::local(folder);
    let clauses = Clauses::load();
    let texts: Vec<&String> = clauses.docs.values().chain(clauses.queries.values()).collect();
    let mut vectors: Vec<Vec<f32>> = vec![];
    for texts in texts.chunks(200) {
        let run = bench.task(TaskKind::Embed, json!({ "input": texts }));
        let outcome = bench.attempt(&run, &CancellationToken::new(), |_| {}).await;
        vectors.extend(bench.large::<Vec<Vec<f32>>>(&outcome.value()["blob"]));
    }
    let (documents, questions) = vectors.split_at(clauses.docs.len());
    let rows = Rows::quantize(documents).unwrap();
    let index = TermIndex::build(clauses.docs.values().map(String::as_str));
    let mixed = clauses.quality(|at, question| {
        let cosines = rows.cosines(&QuantizedQuery::new(&questions[at])).unwrap();
        let cosines: Vec<Option<f64>> = cosines.into_iter().map(Some).collect();
        rank(&bm25(&[&index], question), &cosines, 10)
    });
    eprintln!("nDCG@10 of the mix: {mixed:.4}");
    assert!(mixed >= 0.40, "{mixed}");
}
