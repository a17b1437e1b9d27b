function __vercelaws
  set -l before (commandline -opc)
  vercelaws completion words $before[2..] (commandline -ct)
end
complete -c vercelaws -a '(__vercelaws)'
