//! The word that was meant: what a mistake in a file, a command or a name is told with.

/// "did you mean …?" if one of `known` is near `word`, else the list of all.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, list_title: &str) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{list_title}: {}", known.join(", ")),
    }
}

/// The word of `known` that differs from `word` by a typing mistake (Damerau-Levenshtein distance of at most a third of
/// its length, or 1), if there is one; of several, the one that is most similar by Jaro and Winkler's measure.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase();
    known
        .into_iter()
        .filter_map(|k| {
            let other = k.to_lowercase();
            let distance = strsim::damerau_levenshtein(&folded, &other);
            let near = distance <= (k.chars().count() / 3).max(1);
            near.then(|| (distance, strsim::jaro_winkler(&folded, &other), k))
        })
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map(|(_, _, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_forgives_typing_mistakes_only() {
        let known = ["decoder", "confidence", "iou"];
        assert_eq!(nearest("decodr", known), Some("decoder"));
        assert_eq!(nearest("Confidnece", known), Some("confidence"));
        assert_eq!(nearest("yolo8", ["yolox", "yolov8"]), Some("yolov8"));
        assert_eq!(nearest("oiu", known), Some("iou"));
        assert_eq!(nearest("threshold", known), None);
        assert_eq!(nearest("", known), None);
    }
}
