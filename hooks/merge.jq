# Adds the hooks of oci-bundle.json, or of oci-bundle-prestart.json, to a config.json:
#
#   jq --from-file merge.jq --slurpfile ours oci-bundle.json config.json
#
# Whatever else is there stays as it is, others' hooks in front of ours. A configuration that has them is not changed.
reduce ($ours[0].hooks | to_entries[]) as $stage (.;
  # Two names of one moment: both would be a hook too many.
  (if $stage.key == "poststop" then ["poststop"] else ["prestart", "createRuntime"] end) as $names
  | [.hooks[$names[]]? | .[]? | .path] as $there
  | ($stage.value | map(select(.path as $path | $there | all(. != $path)))) as $missing
  | if $missing == [] then . else .hooks[$stage.key] = (.hooks[$stage.key] // []) + $missing end
)
