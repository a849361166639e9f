/* The home of a user that the image does not know. */
#ifndef SAMEBOX_HOME_H
#define SAMEBOX_HOME_H

/* Adds HOME and USER for an ordinary user without an entry in the image's passwd file, whose HOME would be / or none:
 * the workdir where the user may write to it, else a directory of its own. Takes the list and returns it, or another. */
char **home_add(char **env);

#endif
