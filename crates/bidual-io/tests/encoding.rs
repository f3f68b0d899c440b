//! Encodings and targets: values, and messages with place and remedy.

use bidual_io::Error;
use bidual_io::encoding::*;
use bidual_io::table::{Table, read_csv_bytes};

fn table(text: &str) -> Table {
    read_csv_bytes(text.as_bytes(), "data.csv").unwrap()
}

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T, Error>, expected: &str) {
    assert_eq!(result.unwrap_err().to_string(), expected);
}

#[test]
fn numbers_and_categories() {
    let t = table("a,color,y\n1,red,0\n2,blue,1\n3,red,0\n");
    let encoding = Encoding::learn(&t, &["y"], true).unwrap();
    assert_eq!(encoding.feature_names(), ["a", "color=blue", "color=red"]);
    let features = encoding.apply(&t).unwrap();
    assert_eq!((features.rows, features.columns), (3, 3));
    assert_eq!(features.names, encoding.feature_names());
    assert_eq!(features.values, [1., 2., 3., 0., 1., 0., 1., 0., 1.]);
    // Another order, an extra column, no target.
    let other = table("extra,color,a\n?,blue,5\n");
    assert_eq!(encoding.apply(&other).unwrap().values, [5., 1., 0.]);
    let stored = serde_json::to_string(&encoding).unwrap();
    assert_eq!(serde_json::from_str::<Encoding>(&stored).unwrap(), encoding);
}

#[test]
fn categories_that_look_like_numbers() {
    let t = table("k,y\n1,0\nx,1\n2.50,0\n");
    let encoding = Encoding::learn(&t, &["y"], true).unwrap();
    assert_eq!(encoding.feature_names(), ["k=1", "k=2.50", "k=x"]);
    // Without the x the column is numbers, and is read by value.
    let features = encoding.apply(&table("k\n1.0\n2.5\n")).unwrap();
    assert_eq!(features.values, [1., 0., 0., 1., 0., 0.]);
    let features = encoding.apply(&table("k\n1.0\nx\n")).unwrap();
    assert_eq!(features.values, [1., 0., 0., 0., 0., 1.]);
    says(
        encoding.apply(&table("k\n1\n7\n")),
        "data.csv, line 3, column \"k\": \"7\" is not a known category; the model knows \"1\", \
         \"2.50\", \"x\"; correct the cell, drop the row, or train again with such rows",
    );
}

#[test]
fn text_without_one_hot() {
    let few = table("a,y\n1,0\n2,0\nn/a,1\n");
    says(
        Encoding::learn(&few, &["y"], false),
        "data.csv, line 4, column \"a\": \"n/a\" is not a number; replace it or drop the row: \
         most cells of the column are numbers",
    );
    let many = table("a,y\nred,0\nblue,0\n3,1\n");
    says(
        Encoding::learn(&many, &["y"], false),
        "data.csv, line 2, column \"a\": \"red\" is not a number; replace it, drop the row, or \
         pass --one-hot if the column holds categories",
    );
}

#[test]
fn missing_and_infinite_cells() {
    for (cell, one_hot) in [("", false), ("NA", true), ("nan", true), (" ", true)] {
        let t = table(&format!("a,y\n1,0\n{cell},1\n"));
        says(
            Encoding::learn(&t, &["y"], one_hot),
            &format!(
                "data.csv, line 3, column \"a\": \"{}\" is a missing value; missing values are \
                 not allowed: fill them in or drop the row",
                cell.trim()
            ),
        );
        // In a column that is not used they do not matter.
        Encoding::learn(&table(&format!("a,b,y\n1,{cell},0\n")), &["y", "b"], false).unwrap();
    }
    says(
        Encoding::learn(&table("a,y\n1,0\n-inf,1\n"), &["y"], true),
        "data.csv, line 3, column \"a\": \"-inf\" is not finite; replace it or drop the row",
    );
    says(
        regression_target(&table("a,y\n1,0\n2,1e999\n"), "y"),
        "data.csv, line 3, column \"y\": \"1e999\" is not finite; replace it or drop the row",
    );
}

#[test]
fn missing_columns_and_no_features() {
    let t = table("a,y\n1,0\n2,1\n");
    let encoding = Encoding::learn(&t, &["y"], false).unwrap();
    says(
        encoding.apply(&table("b,c\n1,2\n")),
        "data.csv: there is no column \"a\"; the columns are \"b\", \"c\"",
    );
    says(
        encoding.apply(&table("a\n1\nx\n")),
        "data.csv, line 3, column \"a\": \"x\" is not a number; replace it or drop the row: the \
         model was trained on numbers in this column",
    );
    says(
        Encoding::learn(&t, &["y", "w"], false),
        "data.csv: there is no column \"w\"; the columns are \"a\", \"y\"",
    );
    let none = "data.csv: no column is left as an input; add input columns beside the target and \
                the weights";
    says(Encoding::learn(&t, &["y", "a"], false), none);
    says(Encoding { inputs: vec![] }.apply(&t), none);
    says(
        number_column(&t, "z"),
        "data.csv: there is no column \"z\"; the columns are \"a\", \"y\"",
    );
    says(
        number_column(&table("w\n1\nbig\n"), "w"),
        "data.csv, line 3, column \"w\": \"big\" is not a number; replace it, drop the row, or \
         choose another column",
    );
}

#[test]
fn too_many_categories() {
    let mut text = String::from("id,y\n");
    for i in 0..1001 {
        text += &format!("id{i},{i}\n");
    }
    says(
        Encoding::learn(&table(&text), &["y"], true),
        "data.csv, column \"id\": more than 1000 categories; leave the column out or group its \
         values",
    );
}

#[test]
fn regression_targets() {
    let t = table("y,c\n1,7\n2,7.0\n");
    assert_eq!(regression_target(&t, "y").unwrap(), [1.0, 2.0]);
    says(
        regression_target(&t, "c"),
        "data.csv, column \"c\": every value of the target is 7; there is nothing to learn, \
         choose another target",
    );
}

#[test]
fn binary_targets() {
    let classes = |text: &str| {
        let found = binary_target(&table(text), "y").unwrap();
        (found.classes.to_vec().join("|"), found.signs)
    };
    assert_eq!(classes("y\n1\n0.0\n-0\n1.0\n"), ("0|1".into(), vec![1., -1., -1., 1.]));
    assert_eq!(classes("y\n10\n9\n"), ("9|10".into(), vec![1., -1.]));
    assert_eq!(classes("y\n-1\n0.5\n"), ("-1|0.5".into(), vec![-1., 1.]));
    assert_eq!(classes("y\nyes\nno\n"), ("no|yes".into(), vec![1., -1.]));
    assert_eq!(classes("y\nx\n1\n1.0\n"), ("1|x".into(), vec![1., -1., -1.]));
    assert!(is_binary(&table("y\n1\n2\n1.0\n"), "y").unwrap());
    assert!(!is_binary(&table("y\n1\n2\n3\n"), "y").unwrap());
    assert!(!is_binary(&table("y\na\na\n"), "y").unwrap());
    says(
        binary_target(&table("y\na\na\n"), "y"),
        "data.csv, column \"y\": expected exactly two classes, found only \"a\"; add rows of the \
         other class or choose another target",
    );
    says(
        binary_target(&table("y\na\nb\nc\n"), "y"),
        "data.csv, column \"y\": expected exactly two classes, found more: \"a\", \"b\", \"c\"; \
         keep two classes, or train a regression if the target is a quantity",
    );
    let error = binary_target(&table("y\n1\n2\n3\n4\n5\n6\n7\n8\n"), "y").unwrap_err();
    assert!(error.to_string().contains("more: \"1\", \"2\", \"3\", \"4\", \"5\", \"…\";"));
    let error = binary_target(&table("x,y\n1,a\n2,\n"), "y").unwrap_err();
    assert!(error.to_string().contains("line 3, column \"y\": \"\" is a missing value"));
}

#[test]
fn stored_classes_apply_to_new_data() {
    let classes = ["0".to_owned(), "1".to_owned()];
    let signs = |text: &str| binary_signs(&table(text), "y", &classes);
    assert_eq!(signs("y\n1.0\n0\n1\n").unwrap(), [1., -1., 1.]);
    assert_eq!(signs("y\n1e0\n").unwrap(), [1.]);
    says(
        signs("y\n1\n2\n"),
        "data.csv, line 3, column \"y\": \"2\" is not a class of the model; the classes are \
         \"0\", \"1\"; correct the cell or drop the row",
    );
    let classes = ["no".to_owned(), "yes".to_owned()];
    assert_eq!(binary_signs(&table("y\nyes\n"), "y", &classes).unwrap(), [1.]);
}
