import { afterEach } from 'vitest'
import { clear } from './left-behind.ts'

// For each test file. A hook in a helper counts only for the first file of a process that imports it.
afterEach(clear)
