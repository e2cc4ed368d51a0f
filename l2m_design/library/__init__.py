"""Library: the commands of the command line as functions of `l2m_design`, each of which uses several subpackages."""
