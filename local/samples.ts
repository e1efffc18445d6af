import { readFileSync } from 'node:fs'

/** The photos that the page offers at a first visit, from local/samples; on AWS there are none. All are in the public domain. */
export const SAMPLES = ['portrait', 'cat', 'sign'] as const

/** @returns the answer to a request for one of them, and undefined to any other */
export function answerSample(request: Request): Response | undefined {
  const { pathname } = new URL(request.url)
  const name = SAMPLES.find((sample) => pathname === `/samples/${sample}.jpg`)
  if (name === undefined || request.method !== 'GET') return undefined
  return new Response(readFileSync(new URL(`./samples/${name}.jpg`, import.meta.url)), {
    headers: {
      ...{ 'content-type': 'image/jpeg', 'cache-control': 'private, max-age=86400' },
      ...{ 'x-content-type-options': 'nosniff', 'content-security-policy': "default-src 'none'" },
    },
  })
}
