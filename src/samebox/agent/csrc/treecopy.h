/* COPY of trees and large files, and MOVE across file systems. */
#ifndef SAMEBOX_TREECOPY_H
#define SAMEBOX_TREECOPY_H

#include "job.h"

void tree_copy(struct job *j);
void tree_move(struct job *j);

#endif
