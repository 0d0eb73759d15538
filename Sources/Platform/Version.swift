/// The version of all programs of this tree. https://semver.org
public let productVersion = "0.1.0"
