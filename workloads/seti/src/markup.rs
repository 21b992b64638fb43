//! The pseudo-XML of work units and results, as a tree.

/// Most elements of a document: a result of 10,000 signals has 200,000.
const ELEMENTS_MAX: usize = 400_000;
/// Deepest nesting; real documents reach 7.
const DEPTH_MAX: usize = 16;

/// What is wrong with a document.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A `<` without its `>`.
    #[error("the tag that begins at byte {0} has no end")]
    OpenTag(usize),
    /// Tags that don't match.
    #[error("</{close}> at byte {at} closes <{open}>")]
    Mismatch {
        /// The tag in the text.
        close: String,
        /// The tag that should have been closed.
        open: String,
        /// Where.
        at: usize,
    },
    /// More elements than any real document has.
    #[error("more than {ELEMENTS_MAX} elements, or more than {DEPTH_MAX} levels")]
    TooMany,
}

/// One element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    /// What stands between the tags of a leaf, without surrounding white space.
    pub(crate) text: String,
    pub(crate) children: Vec<Self>,
}

impl Element {
    /// The first child of this name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Follows a path of names, joined by `/`.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |element, name| element.child(name))
    }
}

/// Parses a document into a nameless root. Elements that are still open at the end are closed there: the original
/// leaves them open when it stops early.
pub(crate) fn parse(document: &str) -> Result<Element, Error> {
    let mut open = vec![Element::default()];
    let (mut at, mut count) = (0, 0);
    while let Some(start) = document[at..].find('<') {
        let text = document[at..at + start].trim();
        at += start;
        let length = document[at..].find('>').ok_or(Error::OpenTag(at))?;
        let tag = &document[at + 1..at + length];
        if let Some(name) = tag.strip_prefix('/') {
            close(&mut open, name.trim(), text, at)?;
        } else if !tag.starts_with(['?', '!']) {
            count += 1;
            if ELEMENTS_MAX < count || DEPTH_MAX < open.len() {
                return Err(Error::TooMany);
            }
            let name = tag.split_ascii_whitespace().next().unwrap_or_default().to_owned();
            open.push(Element { name, ..Element::default() });
        }
        at += length + 1;
    }
    while 1 < open.len() {
        fold(&mut open);
    }
    Ok(open.pop().unwrap_or_default())
}

fn close(open: &mut Vec<Element>, name: &str, text: &str, at: usize) -> Result<(), Error> {
    let last = open.last_mut().filter(|last| last.name == name && !name.is_empty());
    let Some(last) = last else {
        let open = open.last().map(|last| excerpt(&last.name)).unwrap_or_default();
        return Err(Error::Mismatch { close: excerpt(name), open, at });
    };
    if last.children.is_empty() {
        text.clone_into(&mut last.text);
    }
    fold(open);
    Ok(())
}

/// The beginning of a name that may be anything, fit to be printed.
fn excerpt(name: &str) -> String {
    name.chars().take(24).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The innermost element becomes a child of the one around it.
fn fold(open: &mut Vec<Element>) {
    if let Some(child) = open.pop() {
        match open.last_mut() {
            Some(parent) => parent.children.push(child),
            None => open.push(child),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_becomes_a_tree() {
        let root = parse(
            "<?xml?> <a> # note\n <b length=3>x y</b> <c><d>1</d><d>2</d></c>\n<b></b></a><e><f>",
        )
        .unwrap();
        assert_eq!(root.at("a/b").unwrap().text, "x y");
        assert_eq!(
            root.at("a/c").unwrap().all("d").map(|d| d.text.as_str()).collect::<Vec<_>>(),
            ["1", "2"]
        );
        assert_eq!(root.at("e/f").unwrap().text, "");
        assert_eq!(root.at("a/x"), None);
    }

    #[test]
    fn broken_documents_are_refused() {
        assert_eq!(parse("<a><b"), Err(Error::OpenTag(3)));
        assert!(matches!(parse("<a></b>"), Err(Error::Mismatch { .. })));
        assert!(matches!(parse("</>"), Err(Error::Mismatch { .. })));
        assert_eq!(parse(&"<a>".repeat(17)), Err(Error::TooMany));
    }
}
