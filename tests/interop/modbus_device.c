/* A Modbus device built on libmodbus, a stack of another make, for the interoperability tests.
 *
 *     modbus_device tcp 127.0.0.1 PORT      modbus_device rtu /dev/pts/N UNIT
 *
 * Coils and discrete inputs follow a pattern, registers hold their address and a number that grows with each request, and at
 * holding 100-107 stands 123456.0 as a float32 in the four orders ABCD, DCBA, BADC, CDAB; at input 40-41 it is ABCD.
 * Everything is there up to address 199. It ends on SIGTERM and says what function codes it saw.
 */
#include <errno.h>
#include <modbus.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 200 };

static volatile sig_atomic_t ended = 0;
static unsigned long seen[256];

static void end(int number)
{
    (void)number;
    ended = 1;
}

/* 123456.0 is 0x47F12000. Not by modbus_set_float_abcd: what version 3.1.6 packs so is BADC on the wire. */
static void put(uint16_t *at, int words_swapped, int bytes_swapped)
{
    uint16_t high = bytes_swapped ? 0xF147 : 0x47F1, low = bytes_swapped ? 0x0020 : 0x2000;
    at[0] = words_swapped ? low : high;
    at[1] = words_swapped ? high : low;
}

static void scan(modbus_mapping_t *map, unsigned number)
{
    for (int at = 0; at < SIZE; at++) {
        map->tab_bits[at] = (at * 7 + at / 3) % 2;
        map->tab_input_bits[at] = (at * 5 + at / 2) % 2;
        map->tab_registers[at] = (uint16_t)(at << 8 | (number & 0xFF));
        map->tab_input_registers[at] = (uint16_t)(at << 8 | (~number & 0xFF));
    }
    put(map->tab_registers + 100, 0, 0);
    put(map->tab_registers + 102, 1, 1);
    put(map->tab_registers + 104, 0, 1);
    put(map->tab_registers + 106, 1, 0);
    put(map->tab_input_registers + 40, 0, 0);
}

/* Answer until the client goes away or the end comes. */
static void serve(modbus_t *device, modbus_mapping_t *map)
{
    static unsigned number = 0;
    uint8_t query[MODBUS_MAX_ADU_LENGTH];
    int header = modbus_get_header_length(device);
    while (!ended) {
        int length = modbus_receive(device, query);
        if (length == -1) {
            if (errno == EMBBADCRC || errno == ETIMEDOUT)
                continue;
            return;
        }
        if (length == 0)
            continue; /* a request to another unit on the line */
        seen[query[header]]++;
        scan(map, ++number);
        if (modbus_reply(device, query, length, map) == -1)
            return;
    }
}

int main(int count, char **words)
{
    if (count != 4) {
        fprintf(stderr, "modbus_device tcp ADDRESS PORT | rtu PATH UNIT\n");
        return 2;
    }
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = end;
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* libmodbus goes on waiting after a signal: it has to come up for air. */
    int tcp = strcmp(words[1], "tcp") == 0;
    modbus_t *device = tcp ? modbus_new_tcp(words[2], atoi(words[3])) : modbus_new_rtu(words[2], 115200, 'N', 8, 1);
    modbus_mapping_t *map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);
    if (device == NULL || map == NULL)
        return 1;
    modbus_set_indication_timeout(device, 0, 200000);
    if (tcp) {
        int listening = modbus_tcp_listen(device, 1);
        if (listening == -1)
            return 1;
        puts("ready");
        fflush(stdout);
        while (!ended && modbus_tcp_accept(device, &listening) != -1) {
            serve(device, map);
            modbus_close(device);
        }
        close(listening);
    } else {
        modbus_set_slave(device, atoi(words[3]));
        if (modbus_connect(device) == -1)
            return 1;
        puts("ready");
        fflush(stdout);
        while (!ended)
            serve(device, map);
        modbus_close(device);
    }
    printf("seen");
    for (int code = 0; code < 256; code++)
        if (seen[code])
            printf(" %d:%lu", code, seen[code]);
    printf("\n");
    modbus_mapping_free(map);
    modbus_free(device);
    return 0;
}
