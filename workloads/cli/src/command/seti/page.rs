//! The page that shows the pictures.

use super::plots::Picture;

/// A page without scripts, which shows the pictures of its folder.
pub(super) fn html(pictures: &[Picture], signals: usize) -> String {
    let mut body = String::new();
    for Picture { file, title } in pictures {
        let (file, title) = (escaped(file), escaped(title));
        body += &format!(
            "<figure><a href=\"{file}\"><img src=\"{file}\" alt=\"{title}\" loading=\"lazy\"></a></figure>\n"
        );
    }
    let left_out = match (signals + 1).saturating_sub(pictures.len()) {
        0 => String::new(),
        count => format!("<p>{count} more signals are not drawn.</p>\n"),
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Signals</title>\n\
         <style>body{{font-family:sans-serif;margin:1rem;background:#fff;color:#222}}figure{{margin:0 0 1rem}}\
         img{{max-width:100%;height:auto;border:1px solid #ddd}}</style>\n</head>\n<body>\n\
         <h1>Signals of a work unit</h1>\n\
         <p>{signals} signals and best signals. Spectrograms have the signal's drift taken away, so that it stands \
         upright; powers are over the mean.</p>\n{body}{left_out}</body>\n</html>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
