_vercelaws() {
  local IFS=$'\n'
  COMPREPLY=($(vercelaws completion words "${COMP_WORDS[@]:1:COMP_CWORD}"))
}
complete -o default -F _vercelaws vercelaws
