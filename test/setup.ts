import { join } from 'node:path'
import { afterAll, afterEach, inject } from 'vitest'
import { clear } from './left-behind.ts'

// What tests start has memory as its users have it (vitest.config.ts).
delete process.env['GLIBC_TUNABLES']
// Compiled once for all of Node's processes that are started.
process.env['NODE_COMPILE_CACHE'] = join(inject('sharedFolder'), 'compiled')

// For each test file. A hook in a helper counts only for the first file of a process that imports it.
afterEach(clear)

// Once a finished job of sharp stayed unheard until something else woke the process's loop, as a timer does (Node 22.23.2).
const heartbeat = setInterval(() => {}, 1_000)
afterAll(() => clearInterval(heartbeat))
