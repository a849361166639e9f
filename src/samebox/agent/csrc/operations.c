/* The list of all operations: the one place that knows them by name. */
#include "operations.h"

#include "chmod.h"
#include "connect.h"
#include "copy.h"
#include "entries.h"
#include "exec.h"
#include "files.h"
#include "grep.h"
#include "pack.h"
#include "protocol.h"
#include "read.h"
#include "remove.h"
#include "unpack.h"
#include "write.h"

static const struct operation *const operations[] = {
    [OP_EXEC] = &exec_operation,
    [OP_READ] = &read_operation,
    [OP_WRITE] = &write_operation,
    [OP_STAT] = &stat_operation,
    [OP_LIST] = &list_operation,
    [OP_MAKE_DIR] = &make_dir_operation,
    [OP_REMOVE] = &remove_operation,
    [OP_MOVE] = &move_operation,
    [OP_COPY] = &copy_operation,
    [OP_CHMOD] = &chmod_operation,
    [OP_REALPATH] = &realpath_operation,
    [OP_SYMLINK] = &symlink_operation,
    [OP_READLINK] = &readlink_operation,
    [OP_WALK] = &walk_operation,
    [OP_GREP] = &grep_operation,
    [OP_PACK] = &pack_operation,
    [OP_UNPACK] = &unpack_operation,
    [OP_CONNECT] = &connect_operation,
};

const struct operation *operation_find(uint8_t number)
{
    return number < sizeof operations / sizeof *operations ? operations[number] : NULL;
}
