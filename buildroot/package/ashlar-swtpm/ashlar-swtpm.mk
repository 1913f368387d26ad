################################################################################
#
# ashlar-swtpm
#
################################################################################

# Version, source and licence are those of the release's package.
ASHLAR_SWTPM_VERSION = $(SWTPM_VERSION)
ASHLAR_SWTPM_SOURCE = $(HOST_SWTPM_SOURCE)
ASHLAR_SWTPM_SITE = $(SWTPM_SITE)
ASHLAR_SWTPM_DL_SUBDIR = swtpm
ASHLAR_SWTPM_LICENSE = $(SWTPM_LICENSE)
ASHLAR_SWTPM_LICENSE_FILES = $(SWTPM_LICENSE_FILES)
ASHLAR_SWTPM_CPE_ID_VENDOR = swtpm_project
ASHLAR_SWTPM_CPE_ID_PRODUCT = swtpm
ASHLAR_SWTPM_AUTORECONF = YES
ASHLAR_SWTPM_DEPENDENCIES = \
	ashlar-libtpms \
	host-pkgconf \
	json-glib \
	libseccomp \
	libtasn1 \
	openssl

# Without GnuTLS there is no swtpm_cert: guests do not ask who made their TPM.
ASHLAR_SWTPM_CONF_OPTS = \
	--disable-tests \
	--with-openssl \
	--with-seccomp \
	--without-cuse \
	--without-gnutls \
	--without-selinux

$(eval $(autotools-package))

# The release's hashes and patches hold for it.
ASHLAR_SWTPM_HASH_FILES = $(HOST_SWTPM_HASH_FILES)
ASHLAR_SWTPM_PKGDIR = $(HOST_SWTPM_PKGDIR)
