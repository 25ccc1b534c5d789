//! Cycles between topics over pipelines: records that go round for ever. Knows names only.

use std::collections::BTreeMap;

use super::problem::Span;
use crate::types::TopicName;

/// Topics and pipelines as nodes, what a pipeline reads and writes as edges.
#[derive(Default)]
pub(super) struct Graph<'a> {
    ids: BTreeMap<Node<'a>, usize>,
    nodes: Vec<(String, Vec<Edge>)>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Node<'a> {
    Topic(&'a TopicName),
    Pipeline(usize),
}

struct Edge {
    to: usize,
    /// Where the manifest says so; nothing for what is deployed already, and for reading.
    span: Option<Span>,
}

/// One way round.
pub(super) struct Cycle {
    /// Where the manifest closes it.
    pub(super) span: Span,
    pub(super) message: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Unseen,
    OnPath,
    Done,
}

impl<'a> Graph<'a> {
    /// Adds a pipeline; `id` tells it from others, whatever their names.
    pub(super) fn add(
        &mut self,
        id: usize,
        name: &str,
        sources: impl Iterator<Item = &'a TopicName>,
        targets: impl Iterator<Item = (&'a TopicName, Option<Span>)>,
    ) {
        let pipeline = self.node(Node::Pipeline(id), || format!("pipeline `{name}`"));
        for source in sources {
            let topic = self.topic(source);
            self.connect(topic, Edge { to: pipeline, span: None });
        }
        for (target, span) in targets {
            let to = self.topic(target);
            self.connect(pipeline, Edge { to, span });
        }
    }

    fn topic(&mut self, name: &'a TopicName) -> usize {
        self.node(Node::Topic(name), || format!("`{name}`"))
    }

    fn node(&mut self, node: Node<'a>, label: impl FnOnce() -> String) -> usize {
        let nodes = &mut self.nodes;
        *self.ids.entry(node).or_insert_with(|| {
            nodes.push((label(), Vec::new()));
            nodes.len() - 1
        })
    }

    fn connect(&mut self, from: usize, edge: Edge) {
        if let Some((_, edges)) = self.nodes.get_mut(from) {
            edges.push(edge);
        }
    }

    /// Cycles that the manifest has a part in: at least one if there is any.
    pub(super) fn cycles(&self) -> Vec<Cycle> {
        let mut marks = vec![Mark::Unseen; self.nodes.len()];
        let mut found = Vec::new();
        for start in 0..self.nodes.len() {
            if marks[start] == Mark::Unseen {
                self.visit(start, &mut marks, &mut found);
            }
        }
        found
    }

    /// Depth first, with the path kept by hand: a manifest decides how deep it goes.
    fn visit(&self, start: usize, marks: &mut [Mark], found: &mut Vec<Cycle>) {
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        marks[start] = Mark::OnPath;
        while let Some((node, next)) = path.last_mut() {
            let Some(edge) = self.nodes[*node].1.get(*next) else {
                marks[*node] = Mark::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match marks[edge.to] {
                Mark::Unseen => {
                    marks[edge.to] = Mark::OnPath;
                    path.push((edge.to, 0));
                }
                Mark::OnPath => {
                    let from = path.iter().position(|(node, _)| *node == edge.to);
                    found.extend(self.cycle(&path[from.unwrap_or(0)..]));
                }
                Mark::Done => {}
            }
        }
    }

    /// The cycle of these nodes, each with the number of edges taken so far.
    fn cycle(&self, path: &[(usize, usize)]) -> Option<Cycle> {
        let taken = |(node, next): &(usize, usize)| self.nodes[*node].1.get(next.checked_sub(1)?);
        let span = path.iter().rev().find_map(|step| taken(step)?.span.clone())?;
        let mut labels: Vec<&str> =
            path.iter().map(|(node, _)| self.nodes[*node].0.as_str()).collect();
        if labels.first()?.starts_with("pipeline") {
            labels.rotate_right(1);
        }
        let around = labels.join(" → ");
        let message = format!("records would go round for ever: {around} → {}", labels.first()?);
        Some(Cycle { span, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(flows: &[(&str, &[&str], &[&str])]) -> Vec<String> {
        let topic = |name: &&str| TopicName::new(name).unwrap();
        let flows: Vec<(&str, Vec<TopicName>, Vec<TopicName>)> = flows
            .iter()
            .map(|(name, from, to)| {
                (*name, from.iter().map(topic).collect(), to.iter().map(topic).collect())
            })
            .collect();
        let mut graph = Graph::default();
        for (i, (name, sources, targets)) in flows.iter().enumerate() {
            graph.add(i, name, sources.iter(), targets.iter().map(|to| (to, Some(i..i + 1))));
        }
        let found = graph.cycles().into_iter();
        found.map(|cycle| format!("{} {}", cycle.span.start, cycle.message)).collect()
    }

    #[test]
    fn a_pipeline_that_reads_what_it_writes_is_found() {
        assert_eq!(
            cycles(&[("p", &["a"], &["a"])]),
            ["0 records would go round for ever: `a` → pipeline `p` → `a`"]
        );
    }

    #[test]
    fn a_way_over_others_is_found_where_it_closes() {
        assert_eq!(
            cycles(&[("p", &["a"], &["b"]), ("q", &["b", "x"], &["c", "a"]), ("r", &["c"], &[])]),
            ["1 records would go round for ever: \
              `a` → pipeline `p` → `b` → pipeline `q` → `a`"]
        );
    }

    #[test]
    fn many_ways_without_a_cycle_are_none() {
        assert!(
            cycles(&[
                ("p", &["a"], &["b", "c"]),
                ("q", &["b"], &["d"]),
                ("r", &["c"], &["d"]),
                ("s", &["d", "a"], &["e"]),
            ])
            .is_empty()
        );
    }

    #[test]
    fn a_long_chain_does_not_exhaust_the_stack() {
        let names: Vec<String> = (0..50_000).map(|i| format!("t{i}")).collect();
        let topics: Vec<TopicName> =
            names.iter().map(|name| TopicName::new(name).unwrap()).collect();
        let mut graph = Graph::default();
        for (i, pair) in topics.windows(2).enumerate() {
            graph.add(i, "p", pair[..1].iter(), pair[1..].iter().map(|to| (to, Some(0..1))));
        }
        assert!(graph.cycles().is_empty());
    }
}
