import { expect, it } from 'vitest'
import { counted, until } from '../until.ts'

it('a second of waiting counts by what the machine had left for it', () => {
  expect(counted(1_000, 50, { idle: 2_000, all: 2_000 })).toBe(1_000)
  expect(counted(1_000, 50, { idle: 1_000, all: 2_000 })).toBe(500)
  // No core was idle; or too little time passed to say.
  expect(counted(1_000, 50, { idle: 0, all: 2_000 })).toBe(100)
  expect(counted(1_000, 50, { idle: 0, all: 0 })).toBe(100)
  // A container that may use less than the machine has: its own timers come late.
  expect(counted(1_000, 250, { idle: 2_000, all: 2_000 })).toBe(200)
})

it('a condition that does not come about is named, after a last look', async () => {
  let looks = 0
  const never = until(
    'the end',
    async () => {
      looks += 1
      return undefined
    },
    100,
  )
  await expect(never).rejects.toThrow('Not within 100 ms of an idle machine: the end')
  expect(looks).toBeGreaterThan(2)
})

it('a condition that comes about is given at once, also when its time is over', async () => {
  expect(await until('the beginning', async () => 'found', 0)).toBe('found')
})
