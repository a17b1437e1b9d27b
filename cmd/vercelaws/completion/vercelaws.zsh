_vercelaws() {
  local -a found
  found=(${(f)"$(vercelaws completion words "${(@)words[2,CURRENT]}")"})
  if (( $#found )); then compadd -a found; else _files; fi
}
compdef _vercelaws vercelaws
