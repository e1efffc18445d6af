import { createHash, createHmac } from 'node:crypto'
import { ApiError, type ClientOptions } from './index.ts'

/** What an API on AWS with `auth = "iam"`, which is the default there, takes its callers by. */
export interface Signing {
  region: string
  credentials: () => Promise<Credentials>
}
interface Credentials {
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
  accountId?: string
}

/** Whether an endpoint is API Gateway's own name, and in which region. */
export const apiGatewayRegion = (endpoint: string): string | undefined =>
  /^https:\/\/[a-z0-9]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?(\/|$)/.exec(endpoint)?.[1]

/** The caller's own credentials, as the AWS CLI would find them, and the region. Loaded only where it is used. */
export async function signing(endpoint: string): Promise<Signing> {
  const { SQSClient } = await import('@aws-sdk/client-sqs')
  // No queue is asked for: this is the door to the SDK's search for credentials and region.
  const found = apiGatewayRegion(endpoint)
  const { config } = new SQSClient(found === undefined ? {} : { region: found })
  const region = await config.region().catch(() => 'us-east-1')
  const credentials = () =>
    config.credentials().catch((error: Error) => {
      const challenge = 'AWS4-HMAC-SHA256'
      throw new ApiError('UNAUTHENTICATED', 0, `No AWS credentials: ${error.message.replace(/\.?$/, '.')}`, {
        challenge,
        cause: error,
      })
    })
  return { region, credentials }
}

/** What a JSON Web Token claims, unverified. */
export function claims(token: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<
      string,
      unknown
    >
  } catch {
    return undefined
  }
}

/**
 * Whose images they will be, as far as it can be said here. A role's keys are others in each session, and its images are
 * those of the session before: by its keys, all would be sent again as soon as they had expired.
 */
export const signerOf = ({ accessKeyId, sessionToken, accountId }: Credentials, env: NodeJS.ProcessEnv) =>
  sessionToken ? JSON.stringify([accountId, env['AWS_PROFILE']]) : accessKeyId

/** A fetch that signs what goes to the endpoint (Signature Version 4), and leaves other requests as they are. */
export async function signingFetch(
  endpoint: string,
  { region, credentials }: Signing,
  service = 'execute-api',
): Promise<NonNullable<ClientOptions['fetch']>> {
  const { SignatureV4 } = await import('@smithy/signature-v4')
  const signer = new SignatureV4({ credentials, region, service, sha256: Sha256 })
  const { origin } = new URL(endpoint)
  return async (address, init) => {
    const url = new URL(address)
    if (url.origin !== origin) return fetch(address, init)
    const { headers } = await signer.sign({
      method: init.method ?? 'GET',
      protocol: url.protocol,
      hostname: url.hostname,
      path: url.pathname,
      // A name may have several values, as `label` has.
      query: Object.fromEntries(
        [...url.searchParams.keys()].map((name) => [name, url.searchParams.getAll(name)]),
      ),
      headers: { ...(init.headers as Record<string, string>), host: url.host },
      ...(init.body === undefined ? {} : { body: init.body }),
    })
    const { host: _, ...signed } = headers
    return fetch(address, { ...init, headers: signed })
  }
}

/** What the signer hashes with: SHA-256, keyed where it is given a secret. */
class Sha256 {
  readonly #hash
  constructor(secret?: unknown) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret as Buffer)
  }
  update(data: unknown): void {
    this.#hash.update(data as Buffer)
  }
  async digest(): Promise<Uint8Array> {
    return this.#hash.digest()
  }
  reset(): void {}
}
